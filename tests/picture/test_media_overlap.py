"""Overlap is bounded, keeps order, and lets no failure pass in silence; keys tell unchanged."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bridge_server.media.content import INDEX_NAME, ContentIndex, content_key, frame_digest
from bridge_server.media.frame import PlateFrame, RgbCoding, RgbPicture
from bridge_server.media.overlap import WriteBehind, prefetch


def frame(index: int = 0, value: int = 7) -> PlateFrame:
    pixels = np.full((4, 5, 3), value, np.uint8)
    return PlateFrame(index, RgbPicture(pixels, ("R", "G", "B"), (0, 1, 2), RgbCoding(8)))


def test_prefetched_items_come_in_order_and_no_more_than_depth_wait():
    made = []

    def source():
        for number in range(50):
            made.append(number)
            yield number

    ahead = prefetch(source(), depth=3)
    for expected in range(50):
        assert next(ahead) == expected
        assert len(made) <= expected + 6
    assert list(ahead) == []


def test_a_failing_source_raises_where_its_item_would_be():
    def source():
        yield 1
        raise RuntimeError("broken")

    ahead = prefetch(source())
    assert next(ahead) == 1
    with pytest.raises(RuntimeError, match="broken"):
        next(ahead)


def test_closing_a_prefetch_closes_the_source_and_its_thread():
    closed = threading.Event()

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    ahead = prefetch(source(), depth=2)
    next(ahead)
    ahead.close()
    assert closed.wait(5)
    assert threading.active_count() == before


class Slow:
    """An output that waits for a signal before every write."""

    target = RgbCoding(8)
    notes = ()

    def __init__(self, fail_at: int | None = None) -> None:
        self.go = threading.Semaphore(0)
        self.written: list[int] = []
        self.fail_at = fail_at
        self.aborted = False

    def write(self, frame: PlateFrame) -> None:
        self.go.acquire(timeout=10)
        if frame.index == self.fail_at:
            raise OSError("disk full")
        self.written.append(frame.index)

    def finish(self) -> list[Path]:
        return [Path(str(index)) for index in self.written]

    def abort(self) -> None:
        self.aborted = True


def test_writing_behind_returns_at_once_and_finishes_everything():
    slow = Slow()
    behind = WriteBehind(slow, depth=3, threads=1)
    for index in range(3):
        behind.write(frame(index))
    assert slow.written == []
    for _ in range(10):
        slow.go.release()
    for index in range(3, 6):
        behind.write(frame(index))
    assert [path.name for path in behind.finish()] == ["0", "1", "2", "3", "4", "5"]


def test_a_write_that_failed_is_raised_by_the_next_or_by_finish():
    slow = Slow(fail_at=0)
    behind = WriteBehind(slow, threads=1)
    behind.write(frame(0))
    slow.go.release()
    with pytest.raises(OSError, match="disk full"):
        behind.finish()


def test_abort_drops_what_waits():
    slow = Slow()
    behind = WriteBehind(slow, depth=8, threads=1)
    for index in range(5):
        behind.write(frame(index))
    slow.go.release()
    for _ in range(5):
        slow.go.release()
    behind.abort()
    assert slow.aborted


def test_a_key_changes_with_everything_that_changes_the_result():
    plate, settings = frame_digest(frame()), {"exemplars": ["ab"], "saturation": 1.0}
    key = content_key(plate, settings)
    assert key == content_key(plate, {"saturation": 1.0, "exemplars": ["ab"]})
    assert key == content_key(frame_digest(frame(index=9)), settings)
    others = [
        content_key(frame_digest(frame(value=8)), settings),
        content_key(plate, {**settings, "saturation": 1.1}),
        content_key(plate, {**settings, "exemplars": ["cd"]}),
        content_key(plate, settings, previous=key),
    ]
    assert len({key, *others}) == 5
    planar = frame()
    other_depth = replace(planar, picture=replace(planar.picture, coding=RgbCoding(7)))
    assert frame_digest(other_depth) != plate


def test_the_index_knows_whole_files_and_survives_a_torn_line(tmp_path):
    done, changed = tmp_path / "a.exr", tmp_path / "b.exr"
    for path in (done, changed):
        path.write_bytes(b"0123456789")
    index = ContentIndex(tmp_path)
    index.record(done, "k1")
    index.record(changed, "k2")
    with (tmp_path / INDEX_NAME).open("a") as torn:
        torn.write('{"key": "k9", "fi')
    changed.write_bytes(b"0")
    again = ContentIndex(tmp_path)
    assert again.unchanged(done, "k1")
    assert not again.unchanged(done, "k2")
    assert not again.unchanged(changed, "k2")
    assert not again.unchanged(tmp_path / "absent.exr", "k1")
    again.record(done, "k3")
    assert ContentIndex(tmp_path).unchanged(done, "k3")
    assert not ContentIndex(tmp_path).unchanged(done, "k1")
