"""The journal of a movie: what it keeps, what it cuts off, and that color comes back exact."""

from __future__ import annotations

import errno
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from bridge_server.headless import journal as journal_module
from bridge_server.headless.journal import Journal, journal_path
from bridge_server.media.frame import (
    PlateFrame,
    PlateInfo,
    RgbCoding,
    RgbPicture,
    YcbcrCoding,
    YcbcrPicture,
)
from bridge_server.picture import JoinSettings, color_of, join, open_spaces, rejoin
from host_plugins.client import BridgeError


def color(k: int, bits: int = 10) -> np.ndarray:
    chance = np.random.default_rng(k)
    return chance.integers(0, 1 << bits, (37, 21), dtype=np.uint8 if bits == 8 else np.uint16)


def filled(movie: Path, frames: int, key: str = "k") -> Journal:
    journal = Journal(movie)
    journal.begin(key)
    for k in range(frames):
        journal.add(color(k), 10)
    return journal


def held(journal: Journal) -> bool:
    """Whether it holds the first colors and nothing else."""
    return all(np.array_equal(kept, color(k)) for k, kept in enumerate(journal.read()))


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_color_of_every_depth_comes_back_bit_for_bit(tmp_path, bits):
    journal = Journal(tmp_path / "m.mov")
    journal.begin("k")
    for k in range(3):
        journal.add(color(k, bits), bits)
    journal.close()
    again = Journal(tmp_path / "m.mov")
    assert again.fits("k")
    for k, kept in enumerate(again.read()):
        np.testing.assert_array_equal(kept, color(k, bits))
    assert again.count == 3
    again.remove()
    assert not list(tmp_path.iterdir())


def test_a_tail_torn_anywhere_costs_its_own_frame_alone(tmp_path):
    movie = tmp_path / "m.mov"
    journal = filled(movie, 3)
    journal.close()
    whole = journal_path(movie).read_bytes()
    filled(tmp_path / "two.mov", 2).close()
    second = len(journal_path(tmp_path / "two.mov").read_bytes())
    for cut in [*range(second, second + 30), len(whole) - 1]:
        journal_path(movie).write_bytes(whole[:cut])
        torn = Journal(movie)
        assert torn.count == 2
        assert held(torn)
        torn.begin("k")
        torn.add(color(2), 10)
        torn.close()
        assert journal_path(movie).read_bytes() == whole


def test_a_damaged_record_ends_what_is_used(tmp_path):
    movie = tmp_path / "m.mov"
    filled(movie, 3).close()
    content = bytearray(journal_path(movie).read_bytes())
    content[len(content) // 2] ^= 1
    journal_path(movie).write_bytes(content)
    damaged = Journal(movie)
    assert damaged.count < 3
    assert held(damaged)
    damaged.close()


def test_what_another_job_left_is_dropped(tmp_path):
    filled(tmp_path / "m.mov", 3, "one").close()
    other = Journal(tmp_path / "m.mov")
    assert not other.fits("two")
    other.begin("two")
    assert other.count == 0
    other.close()
    assert not list(tmp_path.iterdir())


def test_it_knows_the_movie_that_it_delivered_and_no_other(tmp_path):
    movie, temporary = tmp_path / "m.mov", tmp_path / "part.mov"
    journal = filled(movie, 1)
    temporary.write_bytes(b"unfinished")
    journal.delivering(temporary)
    temporary.replace(movie)
    journal.close()
    again = Journal(movie)
    assert again.delivered(movie)
    movie.write_bytes(b"another movie")
    assert not again.delivered(movie)
    again.close()


def test_only_one_run_makes_a_movie_at_a_time(tmp_path):
    first = filled(tmp_path / "m.mov", 1)
    with pytest.raises(BridgeError, match="another run") as refused:
        Journal(tmp_path / "m.mov")
    assert refused.value.code == "output_not_writable"
    first.close()
    Journal(tmp_path / "m.mov").close()


def test_a_full_disk_ends_the_journal_and_gives_its_room_back(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    journal = filled(tmp_path / "m.mov", 2)
    monkeypatch.setattr(journal_module.shutil, "disk_usage", lambda path: usage(9, 9, 1 << 20))
    journal.add(color(2), 10)
    assert "256 MiB" in journal.trouble
    assert not list(tmp_path.iterdir())
    journal.add(color(3), 10)
    monkeypatch.undo()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    journal = filled(tmp_path / "n.mov", 2)
    monkeypatch.setattr(journal, "_append", full)
    journal.add(color(2), 10)
    assert "No space left" in journal.trouble
    assert not list(tmp_path.iterdir())


def test_a_full_journal_keeps_the_first_part(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "LARGEST_BYTES", 4000)
    journal = filled(tmp_path / "m.mov", 6)
    assert "goes on from frame" in journal.trouble
    assert 0 < journal.count < 6
    journal.close()
    monkeypatch.undo()
    again = Journal(tmp_path / "m.mov")
    assert again.count == journal.count
    assert held(again)
    again.close()


PLATES = {
    "gray": YcbcrCoding(8, gray=True),
    "ycbcr": YcbcrCoding(10, shift_x=1, alpha=True),
    "rgb": RgbCoding(16),
    "rgba": RgbCoding(8),
}
TARGETS = {
    "420": YcbcrCoding(8, shift_y=1, shift_x=1),
    "422": YcbcrCoding(10, shift_x=1, alpha=True),
    "444": YcbcrCoding(12, full_range=True),
    "rgb8": RgbCoding(8),
    "rgb16": RgbCoding(16),
}


@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize("plate", PLATES)
@pytest.mark.parametrize("target", TARGETS)
def test_a_picture_rejoined_from_its_color_is_the_joined_one(plate, target, only):
    chance = np.random.default_rng(5)
    coding, size = PLATES[plate], (18, 32)
    if isinstance(coding, YcbcrCoding):
        planes = [chance.integers(64, 200, size, dtype=coding.dtype) for _ in range(2)]
        small = chance.integers(64, 200, coding.chroma_size(*size), dtype=coding.dtype)
        pair = (None, None) if coding.gray else (small, small + 1)
        picture = YcbcrPicture(planes[0], *pair, planes[1] if coding.alpha else None, coding)
    else:
        names = ("R", "G", "B", "A") if plate == "rgba" else ("R", "G", "B")
        pixels = chance.integers(0, 255, (*size, len(names)), dtype=coding.dtype)
        picture = RgbPicture(pixels, names, (0, 1, 2), coding)
    info = PlateInfo("p", "movie", *size, range(1), coding)
    settings = JoinSettings(open_spaces(info), chroma_only=only, neutralize=plate != "ycbcr")
    frame = PlateFrame(0, picture)
    chroma = chance.normal(0, 30, (2, *size)).astype(np.float16)
    joined = join(frame, chroma, settings, TARGETS[target])
    back = rejoin(frame, color_of(joined.picture), settings, TARGETS[target])
    for name in ("y", "cb", "cr", "alpha", "pixels", "names", "color", "coding"):
        before, after = getattr(joined.picture, name, None), getattr(back.picture, name, None)
        np.testing.assert_array_equal(after, before) if before is not None else None
        assert (before is None) == (after is None)
