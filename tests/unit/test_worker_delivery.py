"""Overlapped copies change no byte and no order, and each error is its own frame's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from fake_lanes import fake_lanes

from bridge_server.effects import registry
from bridge_server.effects.effect import Loaded
from bridge_server.gate import Waker
from bridge_server.settings import Settings
from bridge_server.worker import delivery
from bridge_server.worker.compute import Compute
from bridge_server.worker.outbox import Outbox
from host_plugins.wire import messages as m
from host_plugins.wire.buffers import Buffer, content_digest
from host_plugins.wire.errors import BridgeError
from models.lookup import LookupPropagator

ONE, TWO = b"1" * 16, b"2" * 16
STILL = Buffer("rgb", "u1", (8, 8, 3), bytes(range(192)))


class Worker:
    """A Compute that runs in this thread, on lanes that overlap or not."""

    def __init__(self, folder, *, overlapping: bool, snapshot_frames: int = 0) -> None:
        self.waker = Waker()
        self.outbox = Outbox(self.waker)
        settings = {**asdict(Settings()), "snapshot_frames": snapshot_frames}
        self.compute = Compute(self.outbox, home=folder, settings=settings)
        self.log: list[str] = []
        if overlapping:
            self.compute._planner._lanes, backend = fake_lanes()
            self.log = backend.log

    def run(self, *messages: m.Message) -> list[m.Message]:
        """All at once in the queue, then stop: what the worker said."""
        for message in (*messages, m.Stop()):
            self.compute.queue(message)
        self.compute.run()
        return [message for _, message in self.outbox.take()]


@pytest.fixture
def worker(tmp_path, monkeypatch):
    effect = replace(
        registry.EFFECTS["colormnet"],
        load=lambda request: Loaded(None, {"network": "planted"}),
        propagator=lambda loaded, values, memory: Planted(),
        unavailable=lambda: None,
    )
    monkeypatch.setitem(registry.EFFECTS, "colormnet", effect)
    made: list[Worker] = []
    Planted.full_at = None

    def make(*, overlapping: bool = True, **options) -> Worker:
        made.append(Worker(tmp_path / str(len(made)), overlapping=overlapping, **options))
        return made[-1]

    yield make
    for one in made:
        one.waker.close()


class Planted(LookupPropagator):
    """Finds the device full once, at the frame of that number."""

    full_at: int | None = None

    def step(self, luma, *, index, want_confidence=False):
        if index == Planted.full_at:
            Planted.full_at = None
            raise torch.OutOfMemoryError("planted")
        return super().step(luma, index=index, want_confidence=want_confidence)


def opened(session: bytes = ONE, **options) -> tuple[m.Message, ...]:
    digest = content_digest(STILL)
    refs = ({"id": digest, "fr": None},)
    return (
        m.Open("colormnet", {}, refs, session=session, **options),
        m.Exemplar(session, digest, (STILL,)),
    )


def frame(q: int, session: bytes = ONE, **options) -> m.Frame:
    luma = np.random.default_rng(q).integers(0, 255, (16, 24), dtype=np.uint8)
    return m.Frame(session, q, 0, q, (Buffer("y", "u1", (16, 24), luma.tobytes()),), **options)


def results(said: list[m.Message]) -> list[tuple[bytes, int, list[bytes]]]:
    return [
        (one.session, one.q, [bytes(buffer.data) for buffer in one.buffers])
        for one in said
        if isinstance(one, m.Result)
    ]


def test_overlapped_copies_change_no_byte_and_no_order(worker: Callable[..., Worker]) -> None:
    want = {"want": {"confidence": True}}
    messages = [*opened(ONE, **want), *opened(TWO)]
    for q in range(4):
        messages += [frame(q, ONE, cut=q == 2), frame(q, TWO, silent=q == 1)]
    in_order = results(worker(overlapping=False).run(*messages))
    overlapped = worker()
    assert results(overlapped.run(*messages)) == in_order
    assert len(in_order) == 8
    assert len(in_order[0][2]) == 2
    assert in_order[3][2] == []
    uploads = [i for i, line in enumerate(overlapped.log) if line.startswith("upload: copy")]
    waits = [i for i, line in enumerate(overlapped.log) if line.startswith("host waits")]
    assert len(uploads) == len(waits) == 8
    assert all(upload < wait for upload, wait in zip(uploads[1:], waits, strict=False))


def test_nothing_is_held_back_when_no_message_waits(worker: Callable[..., Worker]) -> None:
    one = worker()
    calls: list[int] = []

    class Feeding:
        """A queue that gives the next message only when the last one is answered."""

        def __init__(self, messages: list[m.Message]) -> None:
            self.left = messages

        def get(self) -> m.Message:
            calls.append(len([x for _, x in one.outbox._messages if isinstance(x, m.Result)]))
            return self.left.pop(0)

        def empty(self) -> bool:
            return True

    one.compute._messages = Feeding([*opened(), *(frame(q) for q in range(3)), m.Stop()])
    one.compute.run()
    assert calls == [0, 0, 0, 1, 2, 3]


def test_a_result_that_cannot_be_made_is_the_error_of_its_own_session(
    worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = delivery.from_tensor

    def failing(name: str, tensor: torch.Tensor, dtype: str) -> Buffer:
        if dtype == "<f4":
            raise BridgeError("unsupported", "planted")
        return plain(name, tensor, dtype)

    monkeypatch.setattr(delivery, "from_tensor", failing)
    said = worker().run(
        *opened(ONE, want={"dtype": "<f4"}),
        *opened(TWO),
        frame(0, ONE),
        frame(0, TWO),
        frame(1, ONE),
        frame(1, TWO),
    )
    errors = [(x.session, x.code, x.q) for x in said if isinstance(x, m.Error)]
    assert errors == [(ONE, "unsupported", 0)]
    assert [(session, q) for session, q, _ in results(said)] == [(TWO, 0), (TWO, 1)]


def test_a_full_device_at_the_next_frame_delivers_the_one_held_back_first(
    worker: Callable[..., Worker],
) -> None:
    Planted.full_at = 2
    said = worker().run(*opened(), *(frame(q) for q in range(4)))
    order = [
        f"result {x.q}" if isinstance(x, m.Result) else "rewind"
        for x in said
        if isinstance(x, m.Result | m.Rewind)
    ]
    assert order == ["result 0", "result 1", "rewind"]  # 3 is of an epoch that is over
    assert [x.epoch for x in said if isinstance(x, m.Rewind)] == [1]


def test_a_cancel_comes_behind_the_result_held_back(worker: Callable[..., Worker]) -> None:
    one = worker()
    said: list[m.Message] = []
    with torch.inference_mode():
        for message in (*opened(), frame(0)):
            one.compute._guarded(message)
        one.compute.queue(m.Cancel(ONE, 9))
        one.compute._guarded(frame(1))  # overtaken by the cancel
        one.compute._guarded(one.compute._messages.get())
    said = [message for _, message in one.outbox.take()]
    told = [x for x in said if isinstance(x, m.Result | m.Cancelled)]
    assert [type(x) for x in told] == [m.Result, m.Cancelled]
    assert told[1].q == 1


def test_a_snapshot_is_saved_behind_the_results_it_counts_as_done(
    worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = worker(snapshot_frames=2)
    save = one.compute._store.save
    delivered: list[tuple[int, int]] = []

    def noting(key, q, state):
        count = len([x for _, x in one.outbox._messages if isinstance(x, m.Result)])
        delivered.append((q, count))
        save(key, q, state)

    monkeypatch.setattr(one.compute._store, "save", noting)
    one.compute._settings = {**one.compute._settings, "snapshot_s": 0.0}
    said = one.run(*opened(job="j"), *(frame(q) for q in range(5)))
    assert len(results(said)) == 5
    assert delivered
    assert all(count == q - 1 for q, count in delivered)  # only the frame itself is not out yet
