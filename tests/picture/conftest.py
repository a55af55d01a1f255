"""Builders of small plates: movies with sound and timecode, image files with headers."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import OpenImageIO as oiio
import pytest

MovieMaker = Callable[..., list[list[np.ndarray]]]
ImageMaker = Callable[..., np.ndarray]


@pytest.fixture
def make_movie() -> MovieMaker:
    """make_movie(path, encoder, pix_fmt, ...) writes random planes and returns them."""
    return _make_movie


@pytest.fixture
def make_image() -> ImageMaker:
    """make_image(path, pixels, names=..., **header) writes an image file."""
    return _make_image


def _make_movie(
    path: Path,
    encoder: str,
    pix_fmt: str,
    *,
    size: tuple[int, int] = (48, 64),
    count: int = 5,
    rate: Fraction = Fraction(24),
    timecode: str = "",
    audio: str = "",
    options: dict[str, str] | None = None,
    tags: tuple[int, int, int, int] = (1, 1, 1, 1),
    aspect: Fraction = Fraction(1),
    field_order: str = "",
) -> list[list[np.ndarray]]:
    height, width = size
    random = np.random.default_rng(7)
    made = []
    with av.open(str(path), "w") as container:
        options = dict(options or {})
        if field_order:
            options["field_order"] = field_order
        stream: Any = container.add_stream(encoder, rate, options)
        stream.height, stream.width, stream.pix_fmt = height, width, pix_fmt
        context = stream.codec_context
        context.time_base = 1 / rate
        context.sample_aspect_ratio = aspect
        context.color_primaries, context.color_trc, context.colorspace = tags[:3]
        context.color_range = tags[3]
        if timecode:
            stream.metadata["timecode"] = timecode
        sound = container.add_stream(audio, 48000) if audio else None
        for index in range(count):
            frame = av.VideoFrame(width, height, pix_fmt)
            planes = []
            for component, plane in enumerate(frame.planes):
                bits = frame.format.components[component].bits
                dtype = np.uint8 if bits == 8 else np.uint16
                codes = random.integers(
                    16 << (bits - 8), 235 << (bits - 8), (plane.height, plane.width), dtype
                )
                items = plane.line_size // np.dtype(dtype).itemsize
                view = np.frombuffer(plane, dtype)[: items * plane.height]
                view.reshape(plane.height, items)[:, : plane.width] = codes
                planes.append(codes)
            made.append(planes)
            frame.pts, frame.time_base = index, 1 / rate
            for packet in stream.encode(frame):
                container.mux(packet)
            if sound is not None:
                _mux_sound(container, sound, index, rate)
        for each in (stream, sound):
            if each is not None:
                for packet in each.encode(None):
                    container.mux(packet)
    return made


def _mux_sound(container: Any, sound: Any, index: int, rate: Fraction) -> None:
    count = int(48000 / rate)
    layout = sound.codec_context.layout.name
    tone = np.full((1, count * sound.codec_context.layout.nb_channels), 100 + index, np.int16)
    if sound.codec_context.format.name != "s16":
        return
    frame = av.AudioFrame.from_ndarray(tone, format="s16", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = 48000, index * count, Fraction(1, 48000)
    for packet in sound.encode(frame):
        container.mux(packet)


def _make_image(
    path: Path,
    pixels: np.ndarray,
    *,
    names: tuple[str, ...] = ("R", "G", "B", "A"),
    tile: int = 0,
    box: tuple[int, int, int, int] | None = None,
    parts: tuple[np.ndarray, ...] = (),
    formats: tuple[str, ...] = (),
    **header: Any,
) -> np.ndarray:
    kinds = {"uint8": oiio.UINT8, "uint16": oiio.UINT16, "float16": oiio.HALF}

    def spec_of(array: np.ndarray) -> Any:
        spec = oiio.ImageSpec(
            array.shape[1], array.shape[0], array.shape[2], kinds.get(array.dtype.name, oiio.FLOAT)
        )
        spec.channelnames = names[: array.shape[2]]
        for name, value in header.items():
            if name == "timecode":
                spec.attribute("smpte:TimeCode", oiio.TypeDesc("timecode"), (value, 0))
            else:
                spec.attribute(name.replace("__", ":"), value)
        return spec

    spec = spec_of(pixels)
    if formats:
        spec.channelformats = tuple(oiio.TypeDesc(name) for name in formats)
    if tile:
        spec.tile_width = spec.tile_height = tile
        spec.tile_depth = 1
    if box:
        spec.x, spec.y, spec.full_width, spec.full_height = box
    target = oiio.ImageOutput.create(str(path))
    if parts:
        specs = [spec, *(spec_of(part) for part in parts)]
        for number, each in enumerate(specs):
            each.attribute("oiio:subimagename", f"part{number}")
        assert target.open(str(path), tuple(specs)), target.geterror()
    else:
        assert target.open(str(path), spec), target.geterror()
    assert target.write_image(pixels), target.geterror()
    for number, part in enumerate(parts):
        assert target.open(str(path), specs[number + 1], "AppendSubimage"), target.geterror()
        assert target.write_image(part), target.geterror()
    target.close()
    return pixels
