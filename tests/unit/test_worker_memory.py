"""A full device: the session begins again one step lower, says so, and loses nothing."""

from __future__ import annotations

import errno
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bridge_server.effects import registry
from bridge_server.effects.effect import Loaded
from bridge_server.gate import Waker
from bridge_server.settings import Settings
from bridge_server.worker.compute import Compute
from bridge_server.worker.outbox import Outbox
from host_plugins.wire import messages as m
from host_plugins.wire.buffers import Buffer, content_digest
from models.lookup import LookupPropagator

SESSION = b"s" * 16
STILL = Buffer("rgb", "u1", (8, 8, 3), bytes(range(192)))


class FullAt(LookupPropagator):
    """Runs out of memory at the third step, for as long as `fails` says."""

    fails = 0
    made: list[object] = []  # noqa: RUF012

    def step(self, luma, *, index, want_confidence=False):
        if index == 2 and FullAt.fails > 0:
            FullAt.fails -= 1
            raise torch.OutOfMemoryError("planted")
        return super().step(luma, index=index, want_confidence=want_confidence)


@pytest.fixture
def compute(tmp_path, monkeypatch):
    def propagator(loaded, values, memory):
        FullAt.made.append(memory)
        return FullAt()

    effect = replace(
        registry.EFFECTS["colormnet"],
        load=lambda request: Loaded(None, {"network": "planted"}),
        propagator=propagator,
        unavailable=lambda: None,
    )
    monkeypatch.setitem(registry.EFFECTS, "colormnet", effect)
    FullAt.made = []
    waker = Waker()
    outbox = Outbox(waker)
    made = Compute(outbox, home=tmp_path, settings=asdict(Settings()))
    yield made, outbox
    waker.close()


def run(compute, outbox, fails: int) -> tuple[list[m.Message], list[bytes]]:
    """Open, send six frames, and send again from wherever the worker asks for it."""
    FullAt.fails = fails
    digest = content_digest(STILL)
    opening = m.Open("colormnet", {}, ({"id": digest, "fr": None},), session=SESSION)
    said: list[m.Message] = []
    results: dict[int, bytes] = {}

    def take(message: m.Message) -> None:
        compute._guarded(message)
        said.extend(message for _, message in outbox.take())

    with torch.inference_mode():
        take(opening)
        take(m.Exemplar(SESSION, digest, (STILL,)))
        q, epoch, seen = 0, 0, 0
        while q < 6:
            luma = np.random.default_rng(q).integers(0, 255, (16, 24), dtype=np.uint8)
            buffer = Buffer("y", "u1", (16, 24), luma.tobytes())
            take(m.Frame(SESSION, q, epoch, q, (buffer,)))
            q += 1
            for message in said[seen:]:
                if isinstance(message, m.Rewind):
                    q, epoch = message.q, message.epoch
                if isinstance(message, m.Error):
                    return said, list(results.values())
                if isinstance(message, m.Result):
                    results[message.q] = bytes(message.buffers[0].data)
            seen = len(said)
    return said, [results[k] for k in sorted(results)]


def test_a_full_device_costs_a_step_that_is_told_and_no_byte(compute):
    worker, outbox = compute
    _, unbroken = run(worker, outbox, fails=0)
    said, stepped = run(worker, outbox, fails=2)
    assert stepped == unbroken
    steps = [x.data["step"] for x in said if isinstance(x, m.Event) and x.name == "step_down"]
    assert len(steps) == 2
    degraded = [text for x in said if isinstance(x, m.Result) for text in x.degraded]
    assert all(any(step in text for text in degraded) for step in steps)
    sizes = [memory.workspace_bytes for memory in FullAt.made]
    assert sizes[-1] <= sizes[0]


def test_when_no_step_is_left_the_session_ends_with_a_code(compute):
    worker, outbox = compute
    said, _ = run(worker, outbox, fails=100)
    errors = [message for message in said if isinstance(message, m.Error)]
    assert [error.code for error in errors] == ["oom"]
    assert errors[0].hint
    _, again = run(worker, outbox, fails=0)
    assert len(again) == 6


def test_a_full_disk_costs_the_snapshot_and_not_the_job(tmp_path, monkeypatch):
    """The client is told, frames go on, and nothing half-written stays."""
    from bridge_server.worker import snapshots

    def full(*args, **kwargs):
        Path(args[1]).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(snapshots, "save_file", full)
    waker = Waker()
    outbox = Outbox(waker)
    settings = {**asdict(Settings()), "snapshot_frames": 2}
    worker = Compute(outbox, home=tmp_path, settings=settings)
    digest = content_digest(STILL)
    said: list[m.Message] = []
    with torch.inference_mode():
        messages: list[m.Message] = [
            m.Open("lookup", {}, ({"id": digest, "fr": None},), job="j", session=SESSION),
            m.Exemplar(SESSION, digest, (STILL,)),
        ]
        plate = Buffer("y", "u1", (16, 24), bytes(384))
        messages += [m.Frame(SESSION, q, 0, q, (plate,)) for q in range(5)]
        for message in messages:
            worker._guarded(message)
            said += [message for _, message in outbox.take()]
    waker.close()
    assert sum(isinstance(message, m.Result) for message in said) == 5
    failed = [x for x in said if isinstance(x, m.Event) and x.name == "snapshot_failed"]
    assert failed
    assert "No space left" in failed[0].data["text"]
    assert not list((tmp_path / "snapshots").iterdir())
