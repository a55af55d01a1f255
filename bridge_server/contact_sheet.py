"""Laying plate, exemplar, result and true color side by side in one PNG, to be looked at.

A row for each of a few frames, spread over the clip. Pictures are for the eye: 8 bits, and shrunk
where they are wide.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

GAP = 6
BACKGROUND = 24


def make(
    output: Path,
    *,
    plate: Path,
    exemplar: Path,
    result: Path,
    truth: Path | None = None,
    rows: int = 4,
    width: int = 480,
) -> tuple[int, ...]:
    """Write the sheet, columns plate | exemplar | result | true color; returns the frames shown.

    plate, result, truth: movies or stills of one length. width: of one picture, in pixels.
    Raises ValueError when a file cannot be read or the lengths differ, OSError when output cannot
    be written.
    """
    clips = [read_frames(path) for path in (plate, result, *([truth] if truth else []))]
    counts = {len(clip) for clip in clips}
    if len(counts) != 1:
        raise ValueError(f"expected clips of one length, got {[len(clip) for clip in clips]}")
    color = fit(read_frames(exemplar)[0], width)
    shown = spread(len(clips[0]), rows)
    lines = []
    for index in shown:
        pictures = [fit(clip[index], width) for clip in clips]
        lines.append(beside([pictures[0], color, *pictures[1:]]))
    sheet = above(lines)
    output.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".png", sheet[:, :, ::-1])
    if not done:
        raise OSError(f"{output} cannot be written as PNG")
    part = output.with_name(output.name + ".part")
    part.write_bytes(data.tobytes())
    part.replace(output)
    return shown


def read_frames(path: Path) -> list[Picture]:
    """All frames of a movie, or the one of a still, as (H, W, 3) RGB."""
    try:
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (OSError, av.FFmpegError, IndexError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not frames:
        raise ValueError(f"{path} holds no picture")
    return frames


def spread(count: int, rows: int) -> tuple[int, ...]:
    """At most `rows` frame indices from the first to the last of `count`."""
    return tuple(sorted({round(at) for at in np.linspace(0, count - 1, max(1, min(rows, count)))}))


def fit(picture: Picture, width: int) -> Picture:
    """The picture at most `width` wide, aspect kept."""
    h, w = picture.shape[:2]
    if w <= width:
        return picture
    size = (width, max(1, round(h * width / w)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def beside(pictures: Sequence[Picture]) -> Picture:
    """Pictures in a row, a gap between them, centered in height."""
    h = max(picture.shape[0] for picture in pictures)
    w = sum(picture.shape[1] for picture in pictures) + GAP * (len(pictures) - 1)
    row = np.full((h, w, 3), BACKGROUND, np.uint8)
    left = 0
    for picture in pictures:
        top = (h - picture.shape[0]) // 2
        row[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        left += picture.shape[1] + GAP
    return row


def above(rows: Sequence[Picture]) -> Picture:
    """Rows below each other, a gap between them."""
    h = sum(row.shape[0] for row in rows) + GAP * (len(rows) - 1)
    w = max(row.shape[1] for row in rows)
    sheet = np.full((h, w, 3), BACKGROUND, np.uint8)
    top = 0
    for row in rows:
        sheet[top : top + row.shape[0], : row.shape[1]] = row
        top += row.shape[0] + GAP
    return sheet


def main() -> int:
    """python -m bridge_server.contact_sheet PLATE EXEMPLAR RESULT TRUTH OUT"""
    parser = argparse.ArgumentParser(prog="contact_sheet", description=__doc__)
    for name in ("plate", "exemplar", "result", "truth", "output"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    make(
        options.output,
        plate=options.plate,
        exemplar=options.exemplar,
        result=options.result,
        truth=options.truth,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
