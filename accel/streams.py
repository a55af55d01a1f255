"""Copies to and from a CUDA device on lanes of their own, beside the lane that computes.

The computing lane is torch's current stream, so that nothing else in a worker has to know of them:
a frame's upload runs while the frame before it is computed, and its download while the next one is.
Elsewhere, and where a trial at the start fails, tensors are copied in order, as ever.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from accel.device import Facts


class Event(Protocol):
    """A point in a lane's work."""

    def record(self, lane: Any, /) -> None: ...

    def synchronize(self) -> None: ...


class Backend(Protocol):
    """The few calls that the lanes need; torch.cuda's, or a stand-in that writes them down."""

    def lane(self, name: str) -> Any: ...

    def computing(self) -> Any: ...

    def event(self) -> Event: ...

    def wait(self, lane: Any, event: Event) -> None: ...

    def upload(self, tensor: Tensor, lane: Any, user: Any) -> Tensor: ...

    def download(self, tensor: Tensor, lane: Any) -> Tensor: ...


@dataclass(frozen=True)
class Pending:
    """Results on their way to the host; result() waits for their copies and nothing else."""

    _results: tuple[Tensor, ...]
    _done: Event | None = None
    _sources: tuple[Tensor, ...] = field(default=(), repr=False)  # alive until copied

    def result(self) -> tuple[Tensor, ...]:
        """The results in the host's memory. Raises what the device raised while it made them."""
        if self._done is not None:
            self._done.synchronize()
        return self._results


class Lanes:
    """How a worker's frames get to its device and its results back."""

    def __init__(self, facts: Facts, backend: Backend | None = None) -> None:
        """Tries the lanes once; where that fails, why_not says how, and copies run in order."""
        self.device = facts.device
        self.why_not = "" if facts.kind == "cuda" or backend else f"this device is {facts.kind}"
        self._backend: Backend | None = None
        if not self.why_not:
            self._try(backend or CudaBackend(facts))

    @property
    def overlapping(self) -> bool:
        return self._backend is not None

    def upload(self, tensor: Tensor) -> Tensor:
        """A tensor of the host on the device, ready for the computing lane."""
        backend = self._backend
        if backend is None:
            return tensor.to(self.device)
        user, arrived = backend.computing(), backend.event()
        on_device = backend.upload(tensor, self._up, user)
        arrived.record(self._up)
        backend.wait(user, arrived)
        return on_device

    def download(self, *tensors: Tensor) -> Pending:
        """What the computing lane has been asked for so far, on its way to the host.

        Tensors must not be written to afterwards. Returns at once when overlapping.
        """
        backend = self._backend
        if backend is None:
            return Pending(tuple(tensor.cpu() for tensor in tensors))
        computed, done = backend.event(), backend.event()
        computed.record(backend.computing())
        backend.wait(self._down, computed)
        results = tuple(backend.download(tensor, self._down) for tensor in tensors)
        done.record(self._down)
        return Pending(results, done, tensors)

    def __str__(self) -> str:
        return "copies: overlapped" + (f" (not: {self.why_not})" if self.why_not else "")

    def _try(self, backend: Backend) -> None:
        """There and back once: what a driver or torch refuses must not cost a frame later."""
        sent = torch.arange(64, dtype=torch.float32)
        try:
            self._up, self._down = backend.lane("upload"), backend.lane("download")
            self._backend = backend
            (found,) = self.download(self.upload(sent) * 2).result()
            if not torch.equal(found, sent * 2):
                raise RuntimeError("a trial copy came back different")
        except (RuntimeError, TypeError, AttributeError) as error:
            self._backend, self.why_not = None, f"the trial failed: {str(error)[:200]}"


class CudaBackend:
    """torch.cuda's streams; host buffers are pinned, or their copies would block."""

    def __init__(self, facts: Facts) -> None:
        self._device = facts.device
        self._cuda: Any = torch.cuda  # its classes are untyped

    def lane(self, name: str) -> Any:
        """A stream that has seen everything queued so far, the loading of weights included."""
        stream = self._cuda.Stream(self._device)
        stream.wait_stream(self.computing())
        return stream

    def computing(self) -> Any:
        return self._cuda.current_stream(self._device)

    def event(self) -> Event:
        event: Event = self._cuda.Event()
        return event

    def wait(self, lane: Any, event: Event) -> None:
        lane.wait_event(event)

    def upload(self, tensor: Tensor, lane: Any, user: Any) -> Tensor:
        with self._on(lane):
            on_device = tensor.pin_memory().to(self._device, non_blocking=True)
        on_device.record_stream(user)  # its memory is not reused before that lane is done with it
        return on_device

    def download(self, tensor: Tensor, lane: Any) -> Tensor:
        on_host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        with self._on(lane):
            on_host.copy_(tensor, non_blocking=True)
        tensor.record_stream(lane)
        return on_host

    def _on(self, lane: Any) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self._cuda.stream(lane)
        return context
