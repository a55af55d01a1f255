"""A session: one effect on one clip; frames go out by credit, results come in order."""

from __future__ import annotations

import queue
import statistics
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Optional, Union

from host_plugins.connection import Connection, Lost, Restored
from host_plugins.link import CTL, DATA
from host_plugins.wire import messages as m
from host_plugins.wire.buffers import Buffer, content_digest
from host_plugins.wire.errors import BridgeError

FIRST_RESULT_S = 300.0
LEAST_RESULT_S = 60.0
PRIORITIES = {"interactive": 0, "review": 1, "batch": 2}

EventHandler = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class ClipFrame:
    """One frame on its way out.

    index: the host's frame number. buffers: plane "y" (H, W), the plate's sRGB-encoded luma (u1
    and <u2 as codes of the full range, floats as 0..1), or plane "file" with an encoded picture.
    cut: this frame begins a new shot.
    """

    index: int
    buffers: tuple[Buffer, ...]
    cut: bool = False

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in self.buffers)


@dataclass(frozen=True)
class ExemplarPicture:
    """A color still: plane "rgb" (H, W, 3), sRGB-encoded, or plane "file".

    index: the frame that it is pinned to; None when it belongs to no frame.
    """

    buffer: Buffer
    index: Optional[int] = None

    @property
    def digest(self) -> bytes:
        """The name that the server knows it by."""
        return content_digest(self.buffer)


@dataclass(frozen=True)
class ColoredFrame:
    """One result. buffers: as `want` asked, by default plane "ab" (2, H, W) of CIE a and b.

    times_us: microseconds by stage. degraded: each way in which less was done than asked.
    """

    index: int
    buffers: tuple[Buffer, ...]
    times_us: Mapping[str, Any] = field(default_factory=dict)
    degraded: tuple[str, ...] = ()


class Session:
    """Made by Server.open; a context manager.

    effective: the parameters and settings that the server really uses; what turns out otherwise
    in the course of a run replaces what was said at its start. warnings: why they differ from what
    was asked.
    """

    def __init__(
        self,
        connection: Connection,
        request: m.Open,
        exemplars: Sequence[ExemplarPicture],
        *,
        on_event: Optional[EventHandler] = None,
    ) -> None:
        self._connection = connection
        self._request = request
        self._exemplars = {picture.digest: picture for picture in exemplars}
        self._late: list[tuple[int, ExemplarPicture]] = []  # added mid-session, with their q
        self._on_event = on_event
        self._inbox: queue.SimpleQueue[Union[m.Message, Lost, Restored]] = queue.SimpleQueue()
        self._early: deque[m.Result] = deque()  # of an epoch that ctl has yet to tell of
        self._kept: dict[int, ClipFrame] = {}
        self._durations: list[float] = []
        self._cursor = self._frontier = self._next_result = 0
        self._id = b""
        self._away = False  # the connection is lost, and what is sent would be lost with it
        self.cancelled = False
        self.effective: Mapping[str, Any] = {}
        self.warnings: tuple[str, ...] = ()
        while not self._begin():  # the connection was lost meanwhile: it comes back, or fails
            pass

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def max_in_flight(self) -> int:
        """How many frames may be on their way at once."""
        return self._granted

    @property
    def first_wanted(self) -> int:
        """How many frames of this job the server has already behind it; 0 for a new job."""
        return self._start

    def stream(
        self,
        frames: Iterable[ClipFrame],
        *,
        reread: Optional[Callable[[int], ClipFrame]] = None,
    ) -> Iterator[ColoredFrame]:
        """Send frames, yield their results in order; asking for the next one acknowledges the last.

        frames: in the clip's order; taken no faster than credit allows. reread: gives frame number
        k of this stream again (from 0), so that a server that lost its state can be caught up; with
        none, frames are kept until they are acknowledged, and a loss beyond that is an error.
        Ends early, without an error, after cancel. Raises BridgeError.
        """
        source = iter(frames)
        exhausted = False
        base = self._frontier
        while not self.cancelled:
            while not exhausted and not self._blocked():
                if self._cursor < self._frontier:
                    self._send_frame(self._again(self._cursor, base, reread))
                    continue
                frame = next(source, None)
                if frame is None:
                    exhausted = True
                    break
                self._frontier += 1
                self._kept[self._cursor] = frame
                self._send_frame(frame)
            while self._cursor < self._frontier and not self._blocked():
                self._send_frame(self._again(self._cursor, base, reread))
            if exhausted and self._next_result == self._frontier:
                return
            result = self._receive()
            if result is not None:
                yield ColoredFrame(result.index, result.buffers, result.times_us, result.degraded)
                self._acknowledge()

    def add_exemplar(self, picture: ExemplarPicture) -> None:
        """Add an exemplar, or replace the one pinned to the same frame, from the next frame on."""
        self._late.append((self._frontier, picture))
        self._send_exemplar(picture, at=self._frontier)

    def cancel(self) -> None:
        """Drop what is queued; overtakes all frames. Callable from any thread."""
        self.cancelled = True
        number = self._connection.number()
        with suppress(BridgeError):
            self._connection.request(m.Cancel(self._id, number))
        self._inbox.put(m.Event("cancelled"))

    def flush(self) -> int:
        """Wait until every frame sent so far has its result; returns how many there were."""
        number = self._connection.number()
        answer = self._connection.request(
            m.Flush(self._id, number), timeout_s=self._patience_s() * max(1, self._granted)
        )
        assert isinstance(answer, m.Flushed)
        return answer.q

    def close(self) -> None:
        """End the session on the server; what is on its way is dropped."""
        if not self._id:
            return
        with suppress(BridgeError):
            self._connection.request(m.Close(self._id, self._connection.number()), timeout_s=5.0)
        self._connection.forget(self._id)
        self._id = b""

    # --- opening ---

    def _begin(self) -> bool:
        """Open (or, after a loss, open again) and wait until the server is ready for frames.

        Returns False when the connection was lost on the way and is tried again.
        """
        try:
            opened = self._open(upto=self._next_result if self._frontier else None)
            if self._frontier and opened.next_q > self._next_result:
                # its saved state is ahead of what arrived here: those results would be missing
                self._connection.forget(opened.session)
                closing = m.Close(opened.session, self._connection.number())
                self._connection.request(closing)
                opened = self._open(upto=self._next_result)
        except BridgeError as error:
            if error.code != "disconnected" or self._connection.closed:
                raise
            return False
        if self._id:
            self._connection.forget(self._id)
        self._id = opened.session
        self._epoch = opened.epoch
        self._start = opened.next_q
        self._grant(opened.credit)
        self._granted = opened.credit[0]
        if self._frontier == 0:
            self._cursor = self._frontier = self._next_result = opened.next_q
        else:
            self._cursor = min(opened.next_q, self._frontier)
        self._send_needed(opened.need)
        return self._await_ready()

    def _open(self, *, upto: Optional[int] = None) -> m.Opened:
        want = self._request.want if upto is None else {**self._request.want, "upto": upto}
        number = self._connection.number()
        request = replace(self._request, want=want, request=number)
        opened = self._connection.request(request, timeout_s=FIRST_RESULT_S, inbox=self._inbox)
        assert isinstance(opened, m.Opened)
        return opened

    def _await_ready(self) -> bool:
        deadline = time.monotonic() + FIRST_RESULT_S
        while True:
            item = self._next_item(deadline)
            if isinstance(item, m.Ready):
                self.effective, self.warnings = item.effective, item.warnings
                return True
            if isinstance(item, m.Error):
                raise item.exception()
            if isinstance(item, Lost):
                if item.final:
                    raise item.error
                return False
            self._tell(item)

    def _send_needed(self, need: Sequence[bytes]) -> None:
        for digest in need:
            if digest in self._exemplars:
                self._send_exemplar(self._exemplars[digest], at=0)

    def _send_exemplar(self, picture: ExemplarPicture, *, at: int) -> None:
        self._connection.send(
            DATA, m.Exemplar(self._id, picture.digest, (picture.buffer,), picture.index, at)
        )

    # --- frames out ---

    def _grant(self, credit: tuple[int, int]) -> None:
        self._credit_frames, self._credit_bytes = credit
        self._out: set[int] = set()  # sent and not yet acknowledged

    def _blocked(self) -> bool:
        """No frame may be sent now; one frame may always be out, whatever its size."""
        if self._away:
            return True
        if not self._out:
            return False
        return self._credit_frames <= 0 or self._credit_bytes <= 0

    def _send_frame(self, frame: ClipFrame) -> None:
        q = self._cursor
        silent = q < self._next_result
        self._connection.send(
            DATA,
            m.Frame(self._id, q, self._epoch, frame.index, frame.buffers, frame.cut, silent=silent),
        )
        self._out.add(q)
        self._credit_frames -= 1
        self._credit_bytes -= frame.nbytes
        self._sent_at = time.monotonic()
        self._cursor += 1

    def _again(self, q: int, base: int, reread: Optional[Callable[[int], ClipFrame]]) -> ClipFrame:
        frame = self._kept.get(q)
        if frame is not None:
            return frame
        if reread is not None and q >= base:
            return reread(q - base)
        raise BridgeError(
            "worker_lost", f"the server lost its state and frame {q} cannot be read again"
        )

    # --- results in ---

    def _receive(self) -> Optional[m.Result]:
        """The next result, or None when something else came."""
        item: Union[m.Message, Lost, Restored]
        if self._early and self._early[0].epoch <= self._epoch:
            item = self._early.popleft()
        else:
            item = self._next_item(time.monotonic() + self._patience_s())
        if isinstance(item, m.Result):
            return self._take(item)
        if isinstance(item, m.Credit):
            self._credit_frames += item.credit[0]
            self._credit_bytes += item.credit[1]
        elif isinstance(item, m.Error):
            raise item.exception()
        elif isinstance(item, (m.Rewind, m.Resumed)):
            self._go_back(item)
        elif isinstance(item, Lost):
            if item.final:
                raise item.error
            self._away = True
        elif isinstance(item, Restored):
            self._resume()
        else:
            self._tell(item)
        return None

    def _take(self, result: m.Result) -> Optional[m.Result]:
        if result.epoch > self._epoch:
            self._early.append(result)
            return None
        if result.epoch != self._epoch or result.q < self._next_result:
            if result.epoch == self._epoch:
                self._connection.send(CTL, m.Ack(self._id, result.q + 1))
                self._out.discard(result.q)
            return None
        if result.q != self._next_result:
            raise BridgeError(
                "gap", f"expected the result of frame {self._next_result}, got {result.q}"
            )
        now = time.monotonic()
        self._durations.append(now - self._sent_at)
        del self._durations[:-50]
        return result

    def _acknowledge(self) -> None:
        q = self._next_result
        self._next_result += 1
        self._kept.pop(q, None)
        self._out.discard(q)
        with suppress(BridgeError):
            self._connection.send(CTL, m.Ack(self._id, self._next_result))

    def _go_back(self, order: Union[m.Rewind, m.Resumed]) -> None:
        self._epoch = order.epoch
        self._grant(order.credit)
        # the server still holds these, frames or results, and they cost credit
        self._out.update(range(self._next_result, order.q))
        self._cursor = order.q
        self._send_needed(order.need)
        for at, picture in self._late:
            self._send_exemplar(picture, at=at)

    def _resume(self) -> None:
        """On a new connection: go on where it was, or open again when the session is gone."""
        request = m.Resume(self._id, self._next_result, self._connection.number())
        try:
            answer = self._connection.request(request)
        except BridgeError as error:
            if error.code == "disconnected" and not self._connection.closed:
                return  # lost again; the next Restored brings us back here
            if error.code != "unknown_session":
                raise
            if self._begin():
                self._away = False
                for at, picture in self._late:
                    self._send_exemplar(picture, at=at)
            return
        assert isinstance(answer, m.Resumed)
        self._away = False
        self._go_back(answer)

    def _next_item(self, deadline: float) -> Union[m.Message, Lost, Restored]:
        try:
            return self._inbox.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise BridgeError("timeout", "the server did not answer in time") from None

    def _patience_s(self) -> float:
        """How long a result may take: generous at first, then by what frames really took."""
        if not self._durations:
            return FIRST_RESULT_S
        return max(LEAST_RESULT_S, 20 * statistics.median(self._durations))

    def _tell(self, item: object) -> None:
        if not isinstance(item, m.Event):
            return
        if item.name == "effective":
            self.effective = {**self.effective, **item.data}
        if self._on_event is not None:
            self._on_event(item.name, item.data)
