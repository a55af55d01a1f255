"""Saved states: the last two are kept, a good one at or before a frame is found, the rest goes."""

from __future__ import annotations

import torch

from bridge_server.worker.snapshots import SnapshotStore
from models.propagator import State


def state(q: int, size: int = 4) -> State:
    return State({"bank": torch.full((size,), float(q))}, {"q": q})


def test_a_state_at_or_before_a_frame_is_found_among_the_last_two(tmp_path):
    store = SnapshotStore(tmp_path)
    for q in (8, 16, 24):
        store.save("job", q, state(q))
    found = {upto: store.load("job", upto=upto) for upto in (None, 30, 24, 23, 16, 15, 0)}
    starts = {upto: kept and kept[0] for upto, kept in found.items()}
    assert starts == {None: 24, 30: 24, 24: 24, 23: 16, 16: 16, 15: None, 0: None}
    assert found[23][1].values == {"q": 16}
    assert torch.equal(found[23][1].tensors["bank"], torch.full((4,), 16.0))


def test_a_damaged_state_is_dropped_and_the_one_before_it_used(tmp_path):
    store = SnapshotStore(tmp_path)
    store.save("job", 8, state(8))
    store.save("job", 16, state(16))
    (tmp_path / "job.safetensors").write_bytes(b"cut off")
    assert store.load("job")[0] == 8
    assert [path.name for path in tmp_path.iterdir()] == ["job.before.safetensors"]


def test_the_folder_stays_within_its_bytes(tmp_path):
    store = SnapshotStore(tmp_path, largest=9000)
    for q in range(1, 6):
        for job in ("one", "two", "three"):
            store.save(job, q, state(q, 500))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 9000
    assert store.load("three")[0] == 5
