"""What ColorMNet's confidence is: how well memory explains a frame's features, cell by cell.

What it is not is a measure of color error: that needs trained weights to be judged. Nor is it
local in the picture: through the channel attention every pixel's features depend on all pixels.
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from colormnet_clips import chroma, luma
from fill_weights import fill_
from torch import Tensor

from models.colormnet.bank import Bank
from models.colormnet.config import ColorMNetSettings, MemorySettings, NetworkConfig
from models.colormnet.network import ColorMNet
from models.colormnet.propagator import ColorMNetPropagator
from models.colormnet.store import Elements
from models.propagator import Exemplar

SIZE = (112, 112)
TINY = NetworkConfig(
    key=8, value=16, hidden=4, trunk=8, trunk_blocks=(1, 1, 1), value_blocks=(1, 1, 1), tokens=12,
    token_blocks=4, token_heads=2, fusion_heads=2, decoder=16, gate=4, window=3,
)  # fmt: skip
SETTINGS = ColorMNetSettings(MemorySettings(mem_every=50, top_k=6))


@pytest.fixture(scope="module")
def network() -> ColorMNet:
    network = ColorMNet(TINY)
    fill_(network.state_dict())
    return network


def unseen(t: int) -> Tensor:
    """Another picture than luma(t): turned and negative."""
    return 100.0 - luma(*SIZE, 40 + t, 9).transpose(-1, -2).contiguous()


def confidences(network: ColorMNet, frames: list[Tensor], size: tuple[int, int] = SIZE) -> Tensor:
    """Of each frame, (frames, H, W), by an exemplar that is luma(0)."""
    shot = ColorMNetPropagator(network, SETTINGS)
    shot.begin([Exemplar(luma(*size, 0), chroma(*size, 0))])
    out = []
    for index, frame in enumerate(frames):
        step = shot.step(frame, index=index, want_confidence=True)
        assert step.confidence is not None
        out.append(step.confidence[0, 0])
    return torch.stack(out)


def test_any_unseen_part_costs_some(network: ColorMNet) -> None:
    means = []
    for columns in (0, 28, 56, 84, 112):
        frame = luma(*SIZE, 0)
        frame[..., :columns] = unseen(0)[..., :columns]
        means.append(float(confidences(network, [frame]).mean()))
    assert min(means[0] - mean for mean in means[1:]) > 0.05


def test_it_falls_as_more_pixels_are_unseen_and_only_at_those() -> None:
    bank, pixels = _bank(copies=SETTINGS.memory.top_k)
    known = bank.read(pixels.key, pixels.selection).match
    for unseen_pixels in range(1, 11):
        key = pixels.key.clone()
        key[:unseen_pixels] += 20.0
        match = bank.read(key, pixels.selection).match
        torch.testing.assert_close(match[unseen_pixels:], known[unseen_pixels:])
        assert bool((match[:unseen_pixels] < 0.5 * known[:unseen_pixels]).all())


def test_the_exemplars_own_frame_has_the_most_and_a_cut_loses_it(network: ColorMNet) -> None:
    frames = [luma(*SIZE, t) for t in range(3)] + [unseen(t) for t in range(3)]
    means = confidences(network, frames).mean((1, 2))
    assert float(means[0]) == float(means.max())
    assert float(means[3:].max()) < float(means[:3].min())


def test_one_that_memory_holds_so_often_as_it_is_read_is_certain() -> None:
    bank, pixels = _bank(copies=SETTINGS.memory.top_k)
    reading = bank.read(pixels.key, pixels.selection)
    torch.testing.assert_close(reading.match, torch.ones(10), rtol=0.0, atol=1e-5)


def test_it_falls_with_the_distance_between_pixel_and_memory() -> None:
    bank, pixels = _bank(copies=SETTINGS.memory.top_k)
    matches = [
        bank.read(pixels.key + distance, pixels.selection).match.mean()
        for distance in (0.0, 0.5, 1.0, 2.0, 4.0, 100.0)
    ]
    assert matches == sorted(matches, reverse=True)
    assert 0.0 <= float(matches[-1]) < 0.05


@pytest.mark.parametrize("others", [10, 1000])
def test_it_does_not_depend_on_how_much_else_memory_holds(others: int) -> None:
    bank, pixels = _bank(copies=SETTINGS.memory.top_k)
    alone = bank.read(pixels.key, pixels.selection).match
    bank.add_frame(_elements(others, offset=50.0))
    torch.testing.assert_close(bank.read(pixels.key, pixels.selection).match, alone)


def test_colors_made_from_doubtful_colors_are_no_more_certain_than_those() -> None:
    bank, pixels = _bank(copies=SETTINGS.memory.top_k, trust=0.3)
    reading = bank.read(pixels.key, pixels.selection)
    torch.testing.assert_close(reading.trust, torch.full((10,), 0.3))


def test_it_does_not_change_the_colors(network: ColorMNet) -> None:
    shots = [ColorMNetPropagator(network, SETTINGS) for _ in range(2)]
    for shot in shots:
        shot.begin([Exemplar(luma(*SIZE, 0), chroma(*SIZE, 0))])
    for t in range(2):
        with_it, without = (
            shot.step(luma(*SIZE, t), index=t, want_confidence=wanted).chroma
            for shot, wanted in zip(shots, (True, False), strict=True)
        )
        assert torch.equal(with_it, without)


def _elements(count: int, *, offset: float = 0.0, trust: float = 1.0) -> Elements:
    key = torch.linspace(-1.0, 1.0, 8).repeat(count, 1) * torch.arange(1, count + 1)[:, None] * 0.3
    ones = torch.ones(count)
    return Elements(key + offset, ones, torch.ones(count, 8), torch.ones(count, 6), trust * ones)


def _bank(*, copies: int, trust: float = 1.0) -> tuple[Bank, Elements]:
    """A memory that holds ten pixels several times, and those pixels."""
    bank = Bank(dataclasses.replace(SETTINGS.memory, max_mid_term_frames=10_000), 10)
    pixels = _elements(10, trust=trust)
    for _ in range(copies):
        bank.add_frame(pixels)
    return bank, pixels
