"""Every candidate against its reference on a real CUDA device, with its own tolerance."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from accel import device
from accel.attention import SAGE_TOLERANCE, choose_attention, plain, sdpa
from accel.compiling import Compiler
from accel.correlation import TOLERANCE, choose_correlation, torch_correlation
from accel.device import Facts, probe
from accel.plan import make_plan
from accel.streams import Lanes

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def facts() -> Facts:
    return probe("cuda")


def normal(facts: Facts, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(*shape, generator=generator).to(facts.device, dtype)


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


@pytest.mark.parametrize("tokens", [1921, 1793])  # 480 x 640 and 432 x 768, class token included
def test_attention_candidates_stay_within_their_tolerances(facts: Facts, tokens: int) -> None:
    q, k, v = normal(facts, 3, 1, 6, tokens, 64, dtype=torch.float16).unbind()
    wanted = plain(q.float(), k.float(), v.float())
    assert relative(sdpa(q, k, v), wanted) < 2e-3
    choice = choose_attention(facts, use_sage_attention=True, network_attends=True)
    if choice.name != "sage":
        pytest.skip(str(choice))
    assert relative(choice.candidate.build(facts)(q, k, v), wanted) < SAGE_TOLERANCE


def test_the_cuda_sampler_equals_the_reference(facts: Facts) -> None:
    choice = choose_correlation(facts, "on", network_correlates=True)
    if choice.name != "sampler":
        pytest.skip(str(choice))
    query, key = normal(facts, 2, 1, 64, 35, 42).unbind()
    wanted = torch_correlation(query, key, radius=7)
    found = choice.candidate.build(facts)(query, key, radius=7)
    bound = 10 * TOLERANCE * float(wanted.abs().max())
    torch.testing.assert_close(found, wanted, rtol=0, atol=bound)


def test_the_reference_correlation_is_the_same_as_on_the_cpu(facts: Facts) -> None:
    query, key = normal(facts, 2, 1, 64, 9, 13).unbind()
    found = torch_correlation(query, key, radius=7).cpu()
    wanted = torch_correlation(query.cpu(), key.cpu(), radius=7)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_lanes_give_what_plain_calls_give_in_order(facts: Facts) -> None:
    lanes = Lanes(facts)
    assert lanes.overlapping, lanes.why_not
    weight = normal(facts, 512, 512)
    frames = [torch.randn(512, 512) for _ in range(6)]
    uploaded = map(lanes.upload, frames)
    pending = [lanes.download(torch.tanh(x @ weight) @ weight) for x in uploaded]
    for frame, result in zip(frames, pending, strict=True):
        wanted = torch.tanh(frame.to(facts.device) @ weight) @ weight
        torch.testing.assert_close(result.result()[0], wanted.cpu(), rtol=1e-4, atol=1e-3)


def test_compiled_code_is_checked_and_used(facts: Facts) -> None:
    compiler = Compiler(facts)
    wrapped = compiler(lambda x: torch.relu(x * 2 + 1).sum(-1))
    with torch.inference_mode(), compiler.warming():
        wrapped(normal(facts, 64, 64))
    assert [outcome.code for outcome in compiler.outcomes] == ["compiled"]


def test_peak_memory_counts_what_was_freed(facts: Facts) -> None:
    held = device.reset_peak(facts)
    block = torch.empty(2**24, device=facts.device)
    del block
    assert device.peak_bytes(facts) - held >= 2**26
    device.release(facts)
    assert device.free_bytes(facts) > 0


def test_the_plan_of_this_card_names_its_choices(facts: Facts) -> None:
    plan = make_plan(facts, "colormnet")
    assert plan.lines()[0].startswith("device: cuda (")
    assert plan.memory_for(432, 768).prediction.total > 0
