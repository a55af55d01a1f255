"""A contact sheet shows plate, exemplar, result and truth of the same frames, side by side."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from bridge_server import contact_sheet


def movie(path: Path, count: int, color: tuple[int, int, int]) -> Path:
    """Frames of one color, each brighter than the one before."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv444p"
        for index in range(count):
            level = (np.array(color) * (index + 1) / count).astype(np.uint8)
            picture = np.broadcast_to(level, (32, 64, 3)).copy()
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    return path


def test_columns_and_rows_hold_the_frames_they_name(tmp_path: Path) -> None:
    gray = movie(tmp_path / "plate.mp4", 9, (200, 200, 200))
    red = movie(tmp_path / "result.mp4", 9, (200, 0, 0))
    green = movie(tmp_path / "truth.mp4", 9, (0, 200, 0))
    still = movie(tmp_path / "still.png.mp4", 1, (0, 0, 200))
    out = tmp_path / "deep" / "sheet.png"
    shown = contact_sheet.make(out, plate=gray, exemplar=still, result=red, truth=green, rows=3)
    assert shown == (0, 4, 8)
    (sheet,) = contact_sheet.read_frames(out)
    gap = contact_sheet.GAP
    assert sheet.shape == (3 * 32 + 2 * gap, 4 * 64 + 3 * gap, 3)
    for row, index in enumerate(shown):
        level = 200 * (index + 1) / 9
        y = row * (32 + gap) + 16
        for column, expected in enumerate(
            [(level,) * 3, (0, 0, 200), (level, 0, 0), (0, level, 0)]
        ):
            pixel = sheet[y, column * (64 + gap) + 32].astype(int)
            assert np.abs(pixel - expected).max() < 8


def test_wide_pictures_are_shrunk_with_their_aspect() -> None:
    assert contact_sheet.fit(np.zeros((540, 960, 3), np.uint8), 480).shape == (270, 480, 3)
    assert contact_sheet.fit(np.zeros((54, 96, 3), np.uint8), 480).shape == (54, 96, 3)


def test_frames_are_spread_from_first_to_last() -> None:
    assert contact_sheet.spread(60, 4) == (0, 20, 39, 59)
    assert contact_sheet.spread(2, 4) == (0, 1)
    assert contact_sheet.spread(1, 4) == (0,)


def test_clips_of_two_lengths_and_unreadable_ones_are_refused(tmp_path: Path) -> None:
    long, short = (movie(tmp_path / f"{n}.mp4", n, (9, 9, 9)) for n in (3, 2))
    with pytest.raises(ValueError, match=r"one length, got \[3, 2\]"):
        contact_sheet.make(tmp_path / "x.png", plate=long, exemplar=long, result=short)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no movie")
    with pytest.raises(ValueError, match=r"broken\.mp4 cannot be read"):
        contact_sheet.read_frames(broken)
    assert not (tmp_path / "x.png").exists()
