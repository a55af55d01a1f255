"""Rearranged convolutions and the choice of them."""

from __future__ import annotations

from collections.abc import Iterator

import deep_exemplar_recipe as recipe
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from accel.device import Facts
from models.deep_exemplar import color_network, layout
from models.deep_exemplar.candidates import choose_convolution, choose_matcher
from models.deep_exemplar.color_network import ColorVidNet
from models.deep_exemplar.config import why_not_sage
from models.deep_exemplar.matching import nearest, shortlisted
from models.deep_exemplar.networks import Precision, stages
from models.deep_exemplar.norm import instance_norm
from models.deep_exemplar.rearranged import (
    FoldedUpsampling,
    Winograd,
    with_folded_upsampling,
    with_winograd,
)
from models.deep_exemplar.vgg import Vgg19


@pytest.fixture(autouse=True)
def _no_autograd() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


def facts(*features: str, kind: str = "cpu", capability: tuple[int, int] | None = None) -> Facts:
    return Facts(kind, "test", 1, 1, "2", capability=capability, cpu_features=frozenset(features))


def test_folded_upsampling_is_nearest_doubling_and_a_convolution() -> None:
    plain = nn.Sequential(nn.Sequential(nn.Upsample(None, 2), nn.Conv2d(8, 6, 3, padding=1)))
    folded = with_folded_upsampling(plain)
    picture = torch.randn(1, 8, 7, 9)
    assert isinstance(folded[0], FoldedUpsampling)
    assert isinstance(plain[0], nn.Sequential)
    torch.testing.assert_close(folded(picture), plain(picture), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("padding", "dilation", "height", "width"),
    [(0, 1, 30, 41), (1, 1, 27, 48), (2, 2, 27, 48), (2, 2, 8, 8), (1, 1, 1, 3), (1, 1, 90, 101)],
)
def test_winograd_is_the_convolution_at_any_size(
    padding: int, dilation: int, height: int, width: int
) -> None:
    plain = nn.Sequential(nn.Conv2d(128, 130, 3, padding=padding, dilation=dilation))
    rearranged = with_winograd(plain)
    picture = torch.randn(1, 128, height, width)
    assert isinstance(rearranged[0], Winograd)
    expected = plain(picture)
    torch.testing.assert_close(
        rearranged(picture), expected, rtol=0, atol=3e-5 * expected.abs().max().item()
    )


def test_narrow_or_strided_convolutions_stay_as_they_are() -> None:
    kept = nn.Sequential(nn.Conv2d(64, 128, 3), nn.Conv2d(128, 128, 3, stride=2))
    assert not any(isinstance(module, Winograd) for module in with_winograd(kept).modules())


def test_strips_of_the_last_stage_change_last_digits_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = recipe.networks().color
    channels = torch.randn(1, 7, 72, 48) * 20
    whole = network(channels)
    for rows in (16, 30, 40):
        monkeypatch.setattr(color_network, "_STRIP_PIXELS", rows * 48)
        torch.testing.assert_close(network(channels), whole, rtol=0, atol=1e-2)


def test_folding_keeps_chroma_within_its_tolerance_and_saves_multiplications() -> None:
    channels = torch.randn(1, 7, 48, 64) * 20
    results, flops = [], []
    for rearranged in ("none", "folded"):
        chroma = stages(recipe.networks(), rearranged=rearranged).chroma
        with FlopCounterMode(display=False) as counter:
            results.append(chroma(channels))
        flops.append(counter.get_total_flops())
    assert (results[0] - results[1]).abs().max() <= 1e-2
    assert flops[1] < 0.89 * flops[0]


def test_instance_norm_is_torchs_and_keeps_the_memory_layout() -> None:
    picture = torch.randn(1, 16, 9, 11)
    assert torch.equal(instance_norm(picture), torch.nn.functional.instance_norm(picture))
    last = picture.bfloat16().to(memory_format=torch.channels_last)
    assert instance_norm(last).is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(ValueError, match="batch of one"):
        instance_norm(torch.zeros(2, 3, 4, 4))


@pytest.mark.parametrize("precision", ["balanced", "fast"])
def test_rounded_precisions_take_the_candidates_the_machine_is_fast_at(
    precision: Precision,
) -> None:
    with_bf16 = facts("avx512_bf16")
    assert choose_matcher(with_bf16, precision).candidate.build(with_bf16) is shortlisted
    assert choose_convolution(with_bf16, precision).candidate.build(with_bf16) == "all"
    plain = choose_matcher(facts(), precision)
    assert plain.candidate.build(facts()) is nearest
    assert "no fast bf16" in str(plain)
    old = choose_matcher(facts(kind="cuda", capability=(7, 5)), precision)
    assert "needs CUDA capability 8.0, found 7.5" in str(old)
    cuda = facts(kind="cuda", capability=(9, 0))
    assert choose_convolution(cuda, precision).candidate.build(cuda) == "folded"


def test_exact_takes_the_references_and_says_why() -> None:
    machine = facts("amx_bf16")
    matcher, convolution = choose_matcher(machine, "exact"), choose_convolution(machine, "exact")
    assert matcher.candidate.build(machine) is nearest
    assert convolution.candidate.build(machine) == "none"
    assert "exact was asked for" in str(matcher)
    assert "exact was asked for" in str(convolution)
    compiled = choose_convolution(machine, "exact", compiled=True)
    assert compiled.candidate.build(machine) == "folded"


def test_sage_attention_is_refused_with_the_reason() -> None:
    assert "no attention layer" in why_not_sage()[0]


def test_pictures_kept_in_blocks_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe.networks()
    pictures = torch.rand(1, 3, 112, 96), torch.randn(1, 7, 112, 96) * 20
    plain = (*made.vgg(pictures[0]), made.color(pictures[1]))
    monkeypatch.setattr(layout, "_LEAST_PIXELS", 112 * 96)
    seen: list[bool] = []
    for network in (Vgg19, ColorVidNet):
        monkeypatch.setattr(network, "blocked", True)
    hook = made.color.conv7_2.register_forward_hook(lambda _m, x, _y: seen.append(x[0].is_mkldnn))
    blocked = (*made.vgg(pictures[0]), made.color(pictures[1]))
    hook.remove()
    assert seen == [torch.backends.mkldnn.is_available()]
    assert all(torch.equal(got, expected) for got, expected in zip(blocked, plain, strict=True))
