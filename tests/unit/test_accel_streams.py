"""Lanes: what waits for what, told by a backend that writes calls down instead of running them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from torch import Tensor

from accel.device import Facts
from accel.streams import Lanes


class FakeEvent:
    def __init__(self, log: list[str], number: int) -> None:
        self.log, self.name = log, f"event {number}"

    def record(self, lane: Any, /) -> None:
        self.log.append(f"{lane}: record {self.name}")

    def synchronize(self) -> None:
        self.log.append(f"host waits for {self.name}")


class FakeBackend:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.numbers = count(1)

    def lane(self, name: str) -> str:
        return name

    def event(self) -> FakeEvent:
        return FakeEvent(self.log, next(self.numbers))

    @contextmanager
    def on(self, lane: Any) -> Iterator[None]:
        self.log.append(f"{lane}: begin")
        yield

    def wait(self, lane: Any, event: Any) -> None:
        self.log.append(f"{lane}: wait {event.name}")

    def upload(self, tensor: Tensor, lane: Any, user: Any) -> Tensor:
        self.log.append(f"{lane}: copy for {user}")
        return tensor

    def download(self, tensor: Tensor, lane: Any) -> Tensor:
        self.log.append(f"{lane}: copy")
        return tensor


def test_each_lane_waits_for_its_own_frame_and_the_host_only_for_the_result() -> None:
    backend = FakeBackend()
    lanes = Lanes(Facts("cuda", "x", 1, 1, "2.6"), backend)
    pending = lanes.run(torch.ones(1), lambda x: x * 3)
    assert backend.log == [
        "upload: copy for compute",
        "upload: record event 1",
        "compute: wait event 1",
        "compute: begin",
        "compute: record event 2",
        "download: wait event 2",
        "download: copy",
        "download: record event 3",
    ]
    assert pending.result() == 3
    assert backend.log[-1] == "host waits for event 3"


def test_the_next_frame_is_queued_before_the_first_is_waited_for() -> None:
    backend = FakeBackend()
    lanes = Lanes(Facts("cuda", "x", 1, 1, "2.6"), backend)
    frames = [lanes.run(torch.tensor([float(i)]), lambda x: x + 1) for i in range(3)]
    assert not any("host" in line for line in backend.log)
    assert [float(frame.result()) for frame in frames] == [1.0, 2.0, 3.0]
    waited = [line for line in backend.log if "host" in line]
    assert waited == [f"host waits for event {n}" for n in (3, 6, 9)]


def test_a_cpu_has_no_lanes_and_the_same_results() -> None:
    lanes = Lanes(Facts("cpu", "x", 1, 1, "2.6"))
    assert not lanes.overlapping
    assert lanes.run(torch.ones(1), lambda x: x * 3).result() == 3
