"""What in a step makes the host wait for the device: nothing, but for ties of matches.

Told on a CPU from the operations themselves: those whose result or shape the host must know.
"""

from __future__ import annotations

from typing import Any

import deep_exemplar_recipe as recipe
import pytest
import torch
from colormnet_clips import chroma, luma
from fill_weights import fill_
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bridge_server.picture import upscale_chroma, working_luma
from models.colormnet import bank
from models.colormnet.config import ColorMNetSettings, MemorySettings, NetworkConfig
from models.colormnet.network import ColorMNet
from models.colormnet.propagator import ColorMNetPropagator
from models.deep_exemplar.config import DeepExemplarSettings
from models.deep_exemplar.networks import stages
from models.deep_exemplar.propagator import DeepExemplarPropagator
from models.propagator import Exemplar

TINY = NetworkConfig(
    key=8, value=16, hidden=4, trunk=8, trunk_blocks=(1, 1, 1), value_blocks=(1, 1, 1), tokens=12,
    token_blocks=4, token_heads=2, fusion_heads=2, decoder=16, gate=4,
)  # fmt: skip
WAITING = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "_unique2"}


class Waits(TorchDispatchMode):
    """Notes operations that read from the device."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)
            for index in args[1]
        )
        if name in WAITING or by_mask:
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inference mode would hide operations from the counter."""
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)


@pytest.fixture
def as_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank, "_counting_is_free", lambda device: False)


def colormnet() -> ColorMNetPropagator:
    network = ColorMNet(TINY)
    fill_(network.state_dict())
    memory = MemorySettings(mem_every=2, max_mid_term_frames=20, min_mid_term_frames=2, top_k=6)
    shot = ColorMNetPropagator(network, ColorMNetSettings(memory))
    shot.begin([Exemplar(luma(100, 112, 0), chroma(100, 112, 0))])
    return shot


def test_the_counter_sees_a_host_that_waits() -> None:
    with Waits() as waits:
        x = torch.arange(4.0)
        x[x > 1].sum()
        float(x.max())
        torch.equal(x, x)
    assert len(waits.seen) == 3


def test_a_cpu_may_count(seen: None) -> None:
    shot = colormnet()
    with Waits() as waits, torch.inference_mode():
        shot.step(luma(100, 112, 0), index=0)
    assert waits.seen == ["nonzero"]


def test_steps_of_colormnet_wait_for_nothing(as_on_cuda: None) -> None:
    shot = colormnet()
    with Waits() as waits, torch.inference_mode():
        for t in range(5):
            shot.step(luma(100, 112, t), index=t, want_confidence=True)
    assert waits.seen == []


def test_reading_all_rows_gives_what_reading_those_inside_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run() -> Tensor:
        shot = colormnet()
        frames = [luma(100, 112, t) for t in range(5)]
        return torch.cat([shot.step(frame, index=t).chroma for t, frame in enumerate(frames)])

    counted = run()
    monkeypatch.setattr(bank, "_counting_is_free", lambda device: False)
    torch.testing.assert_close(run(), counted, rtol=1e-5, atol=1e-4)


def test_steps_of_deep_exemplar_wait_only_to_count_ties_of_matches() -> None:
    shot = DeepExemplarPropagator(
        stages(recipe.networks()), DeepExemplarSettings(use_half_resolution=False)
    )
    shot.begin([recipe.exemplar(recipe.rgb_frame(0, 48, 64, seed=3, colored=True))])
    with Waits() as waits:
        for t in range(2):
            shot.step(recipe.luma(t, 48, 64, seed=1), index=t, want_confidence=True)
    # Of a block of rows, here a frame: how many ties there are, and where; on a CPU in two steps.
    assert waits.seen == ["_local_scalar_dense", "nonzero", "nonzero"] * 2


def test_the_picture_around_a_step_waits_for_nothing() -> None:
    full = torch.rand(1, 1, 90, 160)
    with Waits() as waits, torch.inference_mode():
        small, gray = working_luma(full, 36, 64)
        upscale_chroma(torch.cat((small, small), 1), full, 1.0, gray_small=gray)
    assert waits.seen == []
