"""Small pictures of a frame before and after, for the status page.

Taking a sample copies a few thousand values and is done where frames pass; making a picture of it
is left to whoever asks.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from host_plugins.wire import messages as m
from host_plugins.wire.buffers import Buffer

#: gray (h, w) in 0..1, sRGB-encoded, and chroma (2, h, w), CIE a and b
Sample = tuple[NDArray[np.float32], NDArray[np.float32]]

WIDTH = 192
_SCALES = {"u1": 1 / 255, "<u2": 1 / 65535, "<f2": 1.0, "<f4": 1.0}
_XYZ_TO_RGB = np.array(
    [
        [3.2404542, -1.5371385, -0.4985314],
        [-0.969266, 1.8760108, 0.041556],
        [0.0556434, -0.2040259, 1.0572252],
    ]
)


def take(frame: m.Message, result: m.Result) -> Sample | None:
    """Every n-th value of a frame and its colors; None where they are not planes of one size."""
    if not frame.payload or not result.buffers:
        return None
    luma, chroma = frame.payload[0], result.buffers[0]
    if luma.name != "y" or chroma.name != "ab" or chroma.shape[1:] != luma.shape:
        return None
    every = max(1, -(-luma.shape[1] // WIDTH))
    gray = _array(luma)[::every, ::every].astype(np.float32) * np.float32(_SCALES[luma.dtype])
    return gray, _array(chroma)[:, ::every, ::every].astype(np.float32)


def png(sample: Sample) -> bytes:
    """Before and after side by side, with a line between them, as a PNG file."""
    gray, chroma = np.nan_to_num(sample[0]).clip(0, 1), np.nan_to_num(sample[1]).clip(-128, 128)
    before = np.repeat(gray[..., None], 3, axis=2)
    line = np.full((len(gray), 2, 3), 0.1)
    both = np.concatenate([before, line, _color(gray, chroma)], axis=1)
    pixels = (both * 255 + 0.5).astype(np.uint8)
    height, width, _ = pixels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _array(buffer: Buffer) -> NDArray[Any]:
    return np.frombuffer(buffer.data, np.dtype(buffer.dtype)).reshape(buffer.shape)


def _color(gray: NDArray[np.float32], chroma: NDArray[np.float32]) -> NDArray[Any]:
    """sRGB (h, w, 3) in 0..1 of an sRGB-encoded gray and CIE a, b (D65; IEC 61966-2-1)."""
    linear = np.where(gray <= 0.04045, gray / 12.92, ((gray + 0.055) / 1.055) ** 2.4)
    y = np.where(linear > (6 / 29) ** 3, np.cbrt(linear), linear / (3 * (6 / 29) ** 2) + 4 / 29)
    xyz = np.stack([y + chroma[0] / 500, y, y - chroma[1] / 200], axis=-1)
    xyz = np.where(xyz > 6 / 29, xyz**3, 3 * (6 / 29) ** 2 * (xyz - 4 / 29))
    rgb = ((xyz * [0.95047, 1.0, 1.08883]) @ _XYZ_TO_RGB.T).clip(0, 1)
    encoded: NDArray[Any] = np.where(
        rgb <= 0.0031308, rgb * 12.92, 1.055 * rgb ** (1 / 2.4) - 0.055
    )
    return encoded
