"""A session as the front keeps it: order, credit, and results until they are acknowledged.

Everything that a client can pin in memory here, frames that wait and results that it has not
acknowledged, is bounded by the credit it was granted.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bridge_server.effects.descriptor import Value
from bridge_server.peers import Peer
from host_plugins.wire import messages as m
from host_plugins.wire.buffers import Bytes
from host_plugins.wire.errors import BridgeError
from host_plugins.wire.framing import decode, encode

CREDIT_FRAMES = {0: 2, 1: 4, 2: 4}
CREDIT_BYTES = 256 * 1024 * 1024
MAX_CREDIT_FAULTS = 3
#: exemplars added to a running session that no acknowledged frame has seen yet
MAX_LATE = 64
MAX_FLUSHES = 64
MAX_CANCELS = 8


@dataclass(frozen=True)
class Waiting:
    """A message of a session that has not gone to the worker yet, in the parts that it came in."""

    message: m.Frame | m.Exemplar
    parts: list[Bytes]


@dataclass
class SessionRecord:
    """One session. `peer` is None while its client is away (parked)."""

    peer: Peer | None
    effect: str
    parameters: Mapping[str, Value]
    exemplars: dict[bytes, int | None]
    want: Mapping[str, Any]
    priority: int
    job: str
    user: str
    context: str = "filter"
    total: int = 0
    id: bytes = field(default_factory=lambda: os.urandom(16))
    epoch: int = 0
    #: the request that waits for its answer, until the worker has opened the session
    opening: int | None = None
    on_worker: bool = False
    ready: bool = False
    #: what the worker still lacks before it can begin
    need: set[bytes] = field(default_factory=set)
    next_q: int = 0
    acked: int = 0
    queue: deque[Waiting] = field(default_factory=deque)
    running: dict[int, Waiting] = field(default_factory=dict)
    results: dict[int, list[Bytes]] = field(default_factory=dict)
    costs: dict[int, int] = field(default_factory=dict)
    flushes: list[tuple[int, int]] = field(default_factory=list)
    cancels: list[int] = field(default_factory=list)
    #: of exemplars that are on their way: the frame that first sees each, and its bytes
    late: list[tuple[int, int]] = field(default_factory=list)
    shape: tuple[Any, ...] | None = None
    credit_faults: int = 0
    losses: int = 0
    frames_done: int = 0
    device_s: float = 0.0
    opened_at: float = field(default_factory=time.monotonic)
    touched: float = field(default_factory=time.monotonic)

    @property
    def credit_frames(self) -> int:
        return CREDIT_FRAMES[self.priority]

    @property
    def credit(self) -> tuple[int, int]:
        """What a client that starts afresh may send."""
        return self.credit_frames, CREDIT_BYTES

    @property
    def credit_left(self) -> tuple[int, int]:
        """What may be sent beside that which is kept here already."""
        frames, size = self.credit
        return max(0, frames - len(self.costs)), max(0, size - sum(self.costs.values()))

    @property
    def first_missing(self) -> int:
        """The first frame that is neither acknowledged nor has its result here."""
        q = self.acked
        while q in self.results:
            q += 1
        return q

    @property
    def has_work(self) -> bool:
        """A frame waits, and the worker is ready for it."""
        return self.ready and bool(self.queue)

    def accept(self, frame: m.Frame, parts: list[Bytes]) -> list[Bytes] | None:
        """Queue the next frame, or return the kept result of one that was already computed.

        Returns None when the frame was queued, or belongs to an epoch that is over. Raises
        BridgeError: gap, gone, bad_frame, no_credit.
        """
        self.touched = time.monotonic()
        if frame.epoch != self.epoch:
            return None
        if frame.q < self.next_q:
            return self._repeat(frame.q)
        if frame.q > self.next_q:
            raise BridgeError("gap", f"expected frame {self.next_q}, got {frame.q}", retry=True)
        self._check_shape(frame)
        self._spend(frame)
        self.next_q += 1
        self.queue.append(Waiting(frame, parts))
        return None

    def accept_exemplar(self, exemplar: m.Exemplar) -> None:
        """Count an exemplar for the running session. Raises BridgeError `no_credit`."""
        self.touched = time.monotonic()
        self.late = [entry for entry in self.late if entry[0] >= self.acked]
        size = sum(buffer.nbytes for buffer in exemplar.buffers)
        total = size + sum(entry[1] for entry in self.late)
        if self.late and (len(self.late) >= MAX_LATE or total > CREDIT_BYTES):
            raise BridgeError(
                "no_credit",
                f"expected at most {MAX_LATE} exemplars and {CREDIT_BYTES} bytes of them ahead of "
                "the frames, got more",
                retry=True,
            )
        self.late.append((max(exemplar.at, self.next_q), size))

    def finish(self, result: m.Result, parts: list[Bytes]) -> bool:
        """Keep a result until it is acknowledged; False when nobody waits for it any more."""
        if result.epoch != self.epoch or self.running.pop(result.q, None) is None:
            return False
        self.touched = time.monotonic()
        self.results[result.q] = parts
        self.frames_done += 1
        self.losses = 0
        return True

    def acknowledge(self, below: int) -> tuple[int, int]:
        """Drop results below this number; returns the credit (frames, bytes) that comes back."""
        self.touched = time.monotonic()
        done = [q for q in self.results if q < below]
        for q in done:
            del self.results[q]
        self.acked = max(self.acked, min(below, self.next_q))
        return len(done), sum(self.costs.pop(q, 0) for q in done)

    def restart(self, q: int) -> None:
        """The state is that before frame `q`: forget all that is on its way, begin a new epoch."""
        self.epoch += 1
        self.next_q = q
        self.queue.clear()
        self.running.clear()
        self.results.clear()
        self.costs.clear()
        self.late.clear()

    def rewind(self, q: int, epoch: int) -> None:
        """As restart, but results below `q` that were not acknowledged stay, in the new epoch."""
        results = {k: parts for k, parts in self.results.items() if k < q}
        costs = {k: self.costs.get(k, 0) for k in results}
        self.restart(q)
        self.epoch = epoch
        self.costs.update(costs)
        for k, parts in results.items():
            result = decode(parts)
            assert isinstance(result, m.Result)
            self.results[k] = encode(replace(result, epoch=epoch))

    def _repeat(self, q: int) -> list[Bytes] | None:
        if q in self.results:
            return self.results[q]
        if q in self.running or any(
            isinstance(w.message, m.Frame) and w.message.q == q for w in self.queue
        ):
            return None
        raise BridgeError("gone", f"frame {q} was acknowledged; its result is not kept")

    def _check_shape(self, frame: m.Frame) -> None:
        if not frame.buffers or frame.buffers[0].name not in ("y", "file"):
            raise BridgeError("bad_frame", "expected plane 'y' or 'file' first, got another one")
        first = frame.buffers[0]
        if first.name == "file":
            return
        shape = (first.dtype, first.shape)
        if self.shape is None:
            self.shape = shape
        elif shape != self.shape:
            raise BridgeError(
                "bad_frame",
                f"expected every frame as the first one, {self.shape}, got {shape} at frame "
                f"{frame.index}",
            )

    def _spend(self, frame: m.Frame) -> None:
        cost = sum(buffer.nbytes for buffer in frame.buffers)
        out = len(self.costs)
        if out and (out >= self.credit_frames or sum(self.costs.values()) >= CREDIT_BYTES):
            self.credit_faults += 1
            raise BridgeError(
                "no_credit",
                f"expected at most {self.credit_frames} frames on their way, got one more",
                retry=self.credit_faults < MAX_CREDIT_FAULTS,
            )
        self.costs[frame.q] = cost
