"""Overlaps upload, compute and download of neighboring frames on CUDA; elsewhere runs in order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from accel.device import Facts

T = TypeVar("T")


class Event(Protocol):
    """A point in a lane's work."""

    def record(self, lane: Any, /) -> None: ...

    def synchronize(self) -> None: ...


class Backend(Protocol):
    """The few calls that the lanes need; torch.cuda's, or a stand-in that writes them down."""

    def lane(self, name: str) -> Any: ...

    def event(self) -> Event: ...

    def on(self, lane: Any) -> AbstractContextManager[Any]: ...

    def wait(self, lane: Any, event: Event) -> None: ...

    def upload(self, tensor: Tensor, lane: Any, user: Any) -> Tensor: ...

    def download(self, tensor: Tensor, lane: Any) -> Tensor: ...


@dataclass(frozen=True)
class Pending(Generic[T]):
    """A frame under way. result() waits for its download and nothing else."""

    _result: T
    _done: Event | None = None
    _keep: tuple[Any, ...] = ()  # source buffers, alive until the copy has left them

    def result(self) -> T:
        if self._done is not None:
            self._done.synchronize()
        return self._result


class Lanes:
    """Three lanes, one frame behind the other; frames leave in the order in which they came."""

    def __init__(self, facts: Facts, backend: Backend | None = None) -> None:
        self._backend = backend or (CudaBackend(facts) if facts.kind == "cuda" else None)
        names = ("upload", "compute", "download")
        self._lanes = [self._backend.lane(name) for name in names] if self._backend else []

    @property
    def overlapping(self) -> bool:
        return self._backend is not None

    def run(self, frame: Tensor, compute: Callable[[Tensor], Tensor]) -> Pending[Tensor]:
        """frame: on the host. compute: device tensor -> device tensor, queues work only.

        Returns at once on CUDA, with the host's result pending; on other devices with it done.
        """
        backend = self._backend
        if backend is None:
            return Pending(compute(frame))
        upload, work, download = self._lanes
        uploaded, computed, done = backend.event(), backend.event(), backend.event()
        on_device = backend.upload(frame, upload, work)
        uploaded.record(upload)
        backend.wait(work, uploaded)
        with backend.on(work):
            result = compute(on_device)
        computed.record(work)
        backend.wait(download, computed)
        on_host = backend.download(result, download)
        done.record(download)
        return Pending(on_host, done, (frame, on_device, result))


class CudaBackend:
    """torch.cuda's streams; host buffers are pinned, or their copies would block."""

    def __init__(self, facts: Facts) -> None:
        self._device = facts.device
        self._cuda: Any = torch.cuda  # its classes are untyped

    def lane(self, name: str) -> Any:
        """A stream that has seen everything queued so far, the loading of weights included."""
        stream = self._cuda.Stream(self._device, priority=-1 if name == "compute" else 0)
        stream.wait_stream(self._cuda.current_stream(self._device))
        return stream

    def event(self) -> Event:
        event: Event = self._cuda.Event()
        return event

    def on(self, lane: Any) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self._cuda.stream(lane)
        return context

    def wait(self, lane: Any, event: Event) -> None:
        lane.wait_event(event)

    def upload(self, tensor: Tensor, lane: Any, user: Any) -> Tensor:
        with self.on(lane):
            on_device = tensor.pin_memory().to(self._device, non_blocking=True)
        on_device.record_stream(user)  # its memory is not reused before that lane is done with it
        return on_device

    def download(self, tensor: Tensor, lane: Any) -> Tensor:
        on_host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        with self.on(lane):
            on_host.copy_(tensor, non_blocking=True)
        tensor.record_stream(lane)
        return on_host
