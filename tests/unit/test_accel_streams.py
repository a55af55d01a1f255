"""Lanes: what waits for what, told by a backend that writes calls down instead of running them."""

from __future__ import annotations

import pytest
import torch
from fake_lanes import FakeBackend, fake_lanes
from torch import Tensor

from accel.device import Facts
from accel.streams import Lanes


def test_each_lane_waits_for_its_own_frame_and_the_host_only_for_the_result() -> None:
    lanes, backend = fake_lanes()
    pending = lanes.download(lanes.upload(torch.ones(1)) * 3)
    steps = [line.split(" event")[0] for line in backend.log]
    assert steps == [
        "upload: copy for compute",
        "upload: record",
        "compute: wait",
        "compute: record",
        "download: wait",
        "download: copy",
        "download: record",
    ]
    (result,) = pending.result()
    assert result == 3
    assert backend.log[-1].startswith("host waits")


def test_the_next_frame_is_queued_before_the_first_is_waited_for() -> None:
    lanes, backend = fake_lanes()
    frames = [torch.tensor([float(i)]) for i in range(3)]
    pending = [lanes.download(lanes.upload(frame) + 1) for frame in frames]
    assert not any("host" in line for line in backend.log)
    assert [float(frame.result()[0]) for frame in pending] == [1.0, 2.0, 3.0]
    assert sum("host" in line for line in backend.log) == 3


def test_several_results_of_a_frame_are_one_wait() -> None:
    lanes, backend = fake_lanes()
    one, two = lanes.download(torch.ones(2), torch.zeros(3)).result()
    assert (one.tolist(), two.tolist()) == ([1.0, 1.0], [0.0, 0.0, 0.0])
    assert sum("host" in line for line in backend.log) == 1


def test_a_cpu_has_no_lanes_and_no_copies() -> None:
    lanes = Lanes(Facts("cpu", "x", 1, 1, "2.6"))
    frame = torch.ones(1)
    assert not lanes.overlapping
    assert lanes.why_not == "this device is cpu"
    assert lanes.upload(frame) is frame
    assert lanes.download(frame).result()[0] is frame


class Refusing(FakeBackend):
    def upload(self, tensor: Tensor, lane: str, user: str) -> Tensor:
        raise RuntimeError("no pinned memory left")


class Wrong(FakeBackend):
    def upload(self, tensor: Tensor, lane: str, user: str) -> Tensor:
        return tensor + 1


@pytest.mark.parametrize(
    ("backend", "reason"), [(Refusing(), "no pinned memory left"), (Wrong(), "came back different")]
)
def test_lanes_that_fail_their_trial_copy_in_order_and_say_why(
    backend: FakeBackend, reason: str
) -> None:
    lanes = Lanes(Facts("cpu", "x", 1, 1, "2.6"), backend)
    assert not lanes.overlapping
    assert reason in str(lanes)
    assert lanes.download(lanes.upload(torch.ones(1)) * 2).result()[0] == 2
