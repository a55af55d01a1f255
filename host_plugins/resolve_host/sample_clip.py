"""A small black-and-white clip and a color still for it, by the standard library alone."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

COUNT = 24
HEIGHT, WIDTH = 270, 480


def write_clip(folder: Path) -> str:
    """Write 24 gray frames with a bar that tells the frame number; returns their pattern."""
    folder.mkdir(parents=True, exist_ok=True)
    for frame in range(COUNT):
        (folder / f"shot.{frame + 1:06d}.png").write_bytes(_png(_picture(frame, (1, 1, 1))))
    return (folder / "shot.%06d.png").as_posix()


def write_exemplar(path: Path, frame: int) -> Path:
    """One of the frames, tinted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_png(_picture(frame, (1.0, 0.8, 0.5))))
    return path


def _picture(frame: int, tint: tuple[float, float, float]) -> list[bytes]:
    """Rows of RGB bytes: a ramp, a moving block, and the bar."""
    ramp = b"".join(_pixel(60 + 120 * x // WIDTH, tint) for x in range(WIDTH))
    rows = [ramp] * HEIGHT
    bright, dark = _pixel(230, tint), _pixel(30, tint)
    bar = bright * (16 * (frame + 1)) + dark * (WIDTH - 16 * (frame + 1))
    rows[10:40] = [bar] * 30
    left = 20 + 10 * frame
    block = ramp[: 3 * left] + _pixel(200, tint) * 80 + ramp[3 * (left + 80) :]
    rows[100:180] = [block] * 80
    return rows


def _pixel(gray: int, tint: tuple[float, float, float]) -> bytes:
    return bytes(round(gray * share) for share in tint)


def _png(rows: list[bytes]) -> bytes:
    """8-bit RGB (PNG specification, chunks IHDR, IDAT, IEND)."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 6)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
