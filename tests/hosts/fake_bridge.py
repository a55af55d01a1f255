"""A server in a few lines, for the host layer: state that hangs on every frame, jobs, faults.

A result is the frame's bytes behind a hash over all frames so far, so that a resumed run that
skipped or doubled a frame cannot look like an unbroken one.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from host_plugins.client import Buffer, ClipFrame, ColoredFrame, ExemplarPicture
from host_plugins.wire.errors import BridgeError

DESCRIPTOR: dict[str, Any] = {
    "id": "starter",
    "label": "Starter (built in)",
    "version": [1, 0],
    "context": "filter",
    "hint": "Small and quick.",
    "notice": "",
    "clips": [{"name": "Source", "label": "Plate"}, {"name": "Output", "label": "Result"}],
    "groups": [
        {"name": "main", "label": "Color", "open": True},
        {"name": "advanced", "label": "Advanced", "open": False},
    ],
    "params": [
        {"name": "saturation", "kind": "double", "label": "Saturation", "hint": "Chroma gain.",
         "default": 1.0, "low": 0.0, "high": 3.0, "display": [0.0, 2.0], "group": "main",
         "invalidates": "frame"},
        {"name": "blend", "kind": "bool", "label": "Blend", "hint": "Follow motion.",
         "default": True, "group": "main", "invalidates": "after"},
        {"name": "blend_weight", "kind": "double", "label": "Blend weight", "hint": "How much.",
         "default": 0.5, "low": 0.0, "high": 1.0, "group": "main",
         "enabled_by": ["blend", True], "invalidates": "after"},
        {"name": "working_size", "kind": "int", "label": "Working size", "hint": "Long side.",
         "default": 512, "low": 64, "high": 4096, "group": "advanced", "invalidates": "after"},
        {"name": "precision", "kind": "choice", "label": "Precision", "hint": "Number type.",
         "default": "auto", "choices": ["auto", "fp32"], "labels": ["Automatic", "Full"],
         "group": "advanced", "invalidates": "after"},
        {"name": "palette", "kind": "file", "label": "Palette", "hint": "A file.",
         "default": "", "group": "advanced", "invalidates": "after"},
        {"name": "note", "kind": "string", "label": "Note", "hint": "For the record.",
         "default": "", "group": "advanced", "invalidates": "none"},
        {"name": "seed", "kind": "int", "label": "Seed", "hint": "Hidden.", "default": 7,
         "low": 0, "high": 9, "group": "advanced", "secret": True, "invalidates": "after"},
    ],
}  # fmt: skip


class FakeBridge:
    """A server process; `connect` stands in for host_plugins.client.connect.

    die_at: the number of a frame (of all served) at which it dies, once. forgets: dying loses
    the states of jobs. error: what opening a session raises. echo: results are the plates.
    """

    def __init__(self) -> None:
        self.running = False
        self.started = 0
        self.served = 0
        self.opened: list[dict[str, Any]] = []
        self.die_at: int | None = None
        self.forgets = True
        self.error: BridgeError | None = None
        self.jobs: dict[str, tuple[int, bytes]] = {}
        self.gate: threading.Event | None = None
        self.echo = False
        self.descriptor = DESCRIPTOR

    def connect(self, *, start: bool = True, **_: Any) -> FakeServer:
        if not self.running:
            if not start:
                raise BridgeError("no_server", "no ChromaBridge server is running")
            self.running = True
            self.started += 1
        return FakeServer(self)

    def die(self) -> None:
        self.running = False
        if self.forgets:
            self.jobs.clear()

    def check(self) -> None:
        if not self.running:
            raise BridgeError("disconnected", "the server went away")


class FakeServer:
    def __init__(self, bridge: FakeBridge) -> None:
        self._bridge = bridge
        self.info = {"name": "fake", "version": "0"}
        self.effects = (str(bridge.descriptor["id"]),)

    def ping(self) -> str:
        self._bridge.check()
        return "idle"

    def status(self) -> Mapping[str, Any]:
        self._bridge.check()
        return {"sessions": 0}

    def describe(self, effect: str, *, context: str = "filter") -> Mapping[str, Any]:
        self._bridge.check()
        return self._bridge.descriptor

    def open(
        self,
        effect: str,
        parameters: Mapping[str, Any],
        exemplars: Sequence[ExemplarPicture],
        *,
        job: str = "",
        want: Mapping[str, Any],
        on_event: Callable[[str, Mapping[str, Any]], None] | None = None,
        **_: Any,
    ) -> FakeSession:
        self._bridge.check()
        if self._bridge.error is not None:
            raise self._bridge.error
        if on_event:
            on_event("loading", {"effect": effect})
        self._bridge.opened.append({"parameters": dict(parameters), "job": job, "want": dict(want)})
        return FakeSession(self._bridge, parameters, exemplars, job)

    def close(self) -> None:
        pass


class FakeSession:
    warnings = ("less was possible",)

    def __init__(
        self,
        bridge: FakeBridge,
        parameters: Mapping[str, Any],
        exemplars: Sequence[ExemplarPicture],
        job: str,
    ) -> None:
        self._bridge, self._job = bridge, job
        seed = repr(sorted(parameters.items())) + repr(
            sorted((e.digest.hex(), str(e.index)) for e in exemplars)
        )
        fresh = (0, hashlib.sha256(seed.encode()).digest())
        self.first_wanted, self._state = bridge.jobs.get(job, fresh)
        self.effective = dict(parameters)
        self.cancelled = False

    def stream(
        self, frames: Iterable[ClipFrame], *, reread: Callable[[int], ClipFrame] | None = None
    ) -> Iterator[ColoredFrame]:
        for frame in frames:
            if self.cancelled:
                return
            bridge = self._bridge
            bridge.check()
            if bridge.gate is not None:
                bridge.gate.wait(10)
                if self.cancelled:
                    return
            data = bytes(frame.buffers[0].data)
            self._state = hashlib.sha256(self._state + data).digest()
            self.first_wanted += 1
            bridge.served += 1
            if self.first_wanted % 4 == 0:
                bridge.jobs[self._job] = (self.first_wanted, self._state)
            if bridge.served == bridge.die_at:
                bridge.die()
                bridge.check()
            told = data if bridge.echo else self._state + data
            if frame.buffers[0].name == "y":
                yield ColoredFrame(frame.index, (Buffer("ab", "<f2", (2, 2, 2), told[:16]),))
                continue
            yield ColoredFrame(frame.index, (Buffer("file", "u1", (len(told),), told, "exr"),))

    def cancel(self) -> None:
        self.cancelled = True
        if self._bridge.gate is not None:
            self._bridge.gate.set()

    def close(self) -> None:
        pass
