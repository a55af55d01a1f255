"""A stand-in for CUDA's streams: writes calls down, and copies arrive only when waited for."""

from __future__ import annotations

from itertools import count

import torch
from torch import Tensor

from accel.device import Facts
from accel.streams import Lanes

LATE = float("nan")  # what a result holds before its copy is done


class FakeEvent:
    """Waiting for it does every copy that was queued before it was recorded."""

    def __init__(self, backend: FakeBackend, number: int) -> None:
        self._backend, self.name = backend, f"event {number}"
        self._behind: list[tuple[Tensor, Tensor]] = []

    def record(self, lane: str) -> None:
        self._backend.log.append(f"{lane}: record {self.name}")
        if lane == "download":
            self._behind, self._backend.copies = self._backend.copies, []

    def synchronize(self) -> None:
        self._backend.log.append(f"host waits for {self.name}")
        for target, source in self._behind:
            target.copy_(source)
        self._behind = []


class FakeBackend:
    """Lanes are their names; the device is the host."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.copies: list[tuple[Tensor, Tensor]] = []
        self._numbers = count(1)

    def lane(self, name: str) -> str:
        return name

    def computing(self) -> str:
        return "compute"

    def event(self) -> FakeEvent:
        return FakeEvent(self, next(self._numbers))

    def wait(self, lane: str, event: FakeEvent) -> None:
        self.log.append(f"{lane}: wait {event.name}")

    def upload(self, tensor: Tensor, lane: str, user: str) -> Tensor:
        self.log.append(f"{lane}: copy for {user}")
        return tensor

    def download(self, tensor: Tensor, lane: str) -> Tensor:
        self.log.append(f"{lane}: copy")
        late = torch.full_like(tensor, LATE)
        self.copies.append((late, tensor))
        return late


def fake_lanes() -> tuple[Lanes, FakeBackend]:
    """Lanes that overlap on this machine, their trial behind them, and what they wrote down."""
    backend = FakeBackend()
    lanes = Lanes(Facts("cpu", "x", 1, 1, "2.6"), backend)
    backend.log.clear()
    return lanes, backend
