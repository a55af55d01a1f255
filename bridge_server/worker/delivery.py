"""Results on their way out, in order; on CUDA one is copied while the next frame is computed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from accel.streams import Pending
from bridge_server.effects.descriptor import Value
from bridge_server.worker.files import FilePlate, encode_result
from bridge_server.worker.outbox import Outbox
from bridge_server.worker.planes import from_tensor
from host_plugins.link import DATA
from host_plugins.wire import messages as m
from host_plugins.wire.buffers import Buffer


@dataclass(frozen=True)
class Unfinished:
    """A result without its buffers. make: waits for the device and gives them."""

    frame: m.Frame
    result: m.Result
    make: Callable[[], tuple[Buffer, ...]]


class Delivery:
    """Holds back at most one result; whoever takes other messages finishes it first."""

    def __init__(
        self, outbox: Outbox, attempt: Callable[[m.Message, Callable[[], None]], None]
    ) -> None:
        """attempt: does work for a message and answers what it raises as that message's error."""
        self._outbox = outbox
        self._attempt = attempt
        self._held: Unfinished | None = None

    def put(self, unfinished: Unfinished, *, hold: bool) -> None:
        """Send a result now, or hold it back until finish. Raises what making it raised.

        The one before it must have been finished.
        """
        if hold:
            self._held = unfinished
        else:
            self._send(unfinished)

    def finish(self) -> None:
        """Send what is held back. Its errors are its own frame's and are not raised here."""
        held, self._held = self._held, None
        if held is not None:
            self._attempt(held.frame, lambda: self._send(held))

    def _send(self, unfinished: Unfinished) -> None:
        started = time.perf_counter()
        buffers = unfinished.make()
        spent = int((time.perf_counter() - started) * 1e6)
        times = dict(unfinished.result.times_us)
        times |= {"encode": spent, "total": times["total"] + spent}
        self._outbox.put(DATA, replace(unfinished.result, buffers=buffers, times_us=times))


def answer(
    frame: m.Frame,
    copying: Pending,
    source: FilePlate | None,
    want: Mapping[str, Any],
    parameters: Mapping[str, Value],
    made_by: Mapping[str, str],
) -> tuple[Buffer, ...]:
    """The buffers of a result: an encoded picture for an encoded frame, planes for a plane.

    copying: chroma, and confidence if it was asked for. A silent frame has none.
    """
    chroma, *confidence = copying.result()
    if frame.silent:
        return ()
    dtype = str(want.get("dtype", "<f2"))
    if source is None:
        first = from_tensor("ab", chroma, dtype)
    else:
        encoding = str(want.get("encoding", frame.buffers[0].encoding))
        first = encode_result(source, chroma, encoding, parameters, made_by)
    return (first, *(from_tensor("confidence", plane, dtype) for plane in confidence))
