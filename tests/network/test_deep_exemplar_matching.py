"""Blocked matching and the smoother against dense formulas, and the memory of matching."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import numpy as np
import pytest
import torch
from scipy.linalg import solveh_banded
from torch import Tensor
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile

from models.deep_exemplar.matching import Match, Matcher, nearest, shortlisted, soft
from models.deep_exemplar.smoother import smoothed, solve_tridiagonal

MIB = 2**20


def unit_vectors(rows: int, columns: int, *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """theta (rows, 64), phi (64, columns), colors (columns, 2): smooth along the positions."""
    generator = torch.Generator().manual_seed(seed)

    def walk(count: int) -> Tensor:
        steps = torch.randn(count, 64, generator=generator).cumsum(0)
        return torch.nn.functional.normalize(steps - steps.mean(0), dim=1)

    colors = torch.randn(columns, 2, generator=generator) * 40
    return walk(rows), walk(columns).T.contiguous(), colors


def dense(theta: Tensor, phi: Tensor, colors: Tensor) -> Match:
    scores = theta @ phi
    weights = torch.softmax(scores / 1e-10, 1)
    return Match(scores.max(1).values, weights @ colors, scores.argmax(1))


@pytest.mark.parametrize("workspace", [MIB // 64, MIB, 64 * MIB])
def test_blocks_of_any_size_find_what_the_dense_softmax_finds(workspace: int) -> None:
    problem = unit_vectors(700, 900)
    got, expected = nearest(*problem, workspace_bytes=workspace), dense(*problem)
    assert torch.equal(got.index, expected.index)
    assert torch.equal(got.color, expected.color)
    torch.testing.assert_close(got.similarity, expected.similarity, rtol=0, atol=3e-7)


def test_exact_ties_get_the_mean_of_their_colors() -> None:
    theta, phi, colors = unit_vectors(50, 80)
    twice, more = torch.cat((phi, phi), 1), torch.cat((colors, -3 * colors))
    for matcher in (nearest, shortlisted):
        got = matcher(theta, twice, more, workspace_bytes=MIB)
        single = nearest(theta, phi, colors, workspace_bytes=MIB)
        torch.testing.assert_close(got.color, -single.color)
        assert torch.equal(got.index, single.index)
    torch.testing.assert_close(dense(theta, twice, more).color, -single.color, rtol=1e-4, atol=1e-3)


def test_an_exemplar_of_one_color_everywhere_gives_the_mean_color() -> None:
    theta, _, colors = unit_vectors(40, 60)
    for matcher in (nearest, shortlisted):
        got = matcher(theta, torch.zeros(64, 60), colors, workspace_bytes=MIB)
        torch.testing.assert_close(got.color, colors.mean(0).expand(40, 2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_shortlist_in_low_precision_agrees_with_float32_everywhere(dtype: torch.dtype) -> None:
    for seed in range(4):
        problem = unit_vectors(600, 1000, seed=seed)
        got = shortlisted(*problem, workspace_bytes=64 * MIB, dtype=dtype)
        expected = nearest(*problem, workspace_bytes=64 * MIB)
        assert torch.equal(got.index, expected.index)
        assert torch.equal(got.color, expected.color)
        torch.testing.assert_close(got.similarity, expected.similarity, rtol=0, atol=5e-7)


def test_bfloat16_alone_would_not_agree() -> None:
    theta, phi, _ = unit_vectors(600, 1000)
    rounded = (theta.bfloat16() @ phi.bfloat16()).float().argmax(1)
    assert (rounded != (theta @ phi).argmax(1)).float().mean() > 0.02


def allocations(call: Callable[[], object]) -> list[int]:
    """Sizes in the order in which torch took (positive) and gave back (negative) memory."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        kept = call()
    del kept  # only now, so that the result counts as live to the end
    results = profiler.profiler.kineto_results
    waiting, found = list(results.experimental_event_tree()), []
    while waiting:
        event = waiting.pop()
        waiting.extend(event.children)
        if event.typed[0] == _EventType.Allocation:
            found.append((event.start_time_ns, event.id, event.typed[1].alloc_size))
    return [size for _, _, size in sorted(found)]


def ordinary() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    theta = torch.nn.functional.normalize(torch.randn(800, 64, generator=generator), dim=1)
    phi = torch.nn.functional.normalize(torch.randn(64, 16_000, generator=generator), dim=0)
    return theta, phi, torch.randn(16_000, 2, generator=generator)


def flat() -> tuple[Tensor, Tensor, Tensor]:
    """A picture with a black part, where every column ties with every other."""
    theta, phi, colors = ordinary()
    theta[100:400] = 0
    return theta, phi, colors


@pytest.mark.parametrize(
    ("problem", "workspace"),
    [
        (ordinary, 3 * MIB),  # too little for a copy of phi
        (ordinary, 8 * MIB),  # one in bfloat16
        (ordinary, 24 * MIB),  # and one transposed
        (flat, 8 * MIB),
        (flat, 24 * MIB),
    ],
)
@pytest.mark.parametrize("matcher", [nearest, shortlisted])
def test_matching_stays_within_its_workspace(
    matcher: Matcher, problem: Callable[[], tuple[Tensor, Tensor, Tensor]], workspace: int
) -> None:
    theta, phi, colors = problem()
    result = theta.shape[0] * (4 + 2 * 4 + 8)
    sizes = allocations(lambda: matcher(theta, phi, colors, workspace_bytes=workspace))
    peak = max(accumulate(sizes)) - result
    assert workspace / 2 < peak < 1.1 * workspace


@pytest.mark.parametrize("matcher", [nearest, shortlisted])
def test_more_blocks_take_no_more_large_pieces_of_memory(matcher: Matcher) -> None:
    theta, phi, colors = ordinary()

    def large(rows: int) -> int:
        sizes = allocations(lambda: matcher(theta[:rows], phi, colors, workspace_bytes=8 * MIB))
        return sum(size >= MIB // 4 for size in sizes)

    assert large(800) == large(200) > 0


def test_soft_matching_in_blocks_equals_a_dense_softmax() -> None:
    theta, phi, colors = unit_vectors(300, 400)
    got = soft(theta, phi, colors, workspace_bytes=MIB, temperature=0.01)
    expected = torch.softmax(theta @ phi / 0.01, 1) @ colors
    torch.testing.assert_close(got.color, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("count", [2, 37])
def test_tridiagonal_solves_equal_scipy(count: int) -> None:
    generator = np.random.default_rng(3)
    values = generator.normal(size=(count, 5))
    weights = generator.uniform(0, 500, size=count - 1)
    bands = np.zeros((2, count))
    bands[1] = 1
    bands[0, 1:] = -weights
    bands[1, 1:] += weights
    bands[1, :-1] += weights
    expected = solveh_banded(bands, values)
    got = solve_tridiagonal(torch.from_numpy(values), torch.from_numpy(weights)[:, None])
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-9)


def test_a_picture_of_one_pixel_is_already_smooth() -> None:
    chroma = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1)
    assert torch.equal(smoothed(chroma, torch.full((1, 1, 1, 1), 50.0)), chroma)


def test_the_smoother_keeps_edges_of_luma_and_the_mean_of_chroma() -> None:
    luma = torch.full((1, 1, 24, 40), 30.0)
    luma[..., 20:] = 90.0
    chroma = torch.randn(1, 2, 24, 40, generator=torch.Generator().manual_seed(1))
    chroma[..., 20:] += 50
    got = smoothed(chroma, luma)
    torch.testing.assert_close(got.mean((2, 3)), chroma.mean((2, 3)), rtol=0, atol=1e-3)
    assert got[..., :20].std() < 0.1 * chroma[..., :20].std()
    assert (got[..., 20:].mean() - got[..., :20].mean()).item() > 45
    torch.testing.assert_close(smoothed(3 * chroma, luma), 3 * got, rtol=1e-4, atol=1e-3)


def test_the_smoother_names_sizes_that_differ() -> None:
    with pytest.raises(ValueError, match=r"one size.*\(1, 2, 8, 8\).*\(1, 1, 8, 9\)"):
        smoothed(torch.zeros(1, 2, 8, 8), torch.zeros(1, 1, 8, 9))


@pytest.mark.parametrize("columns", [64 * 5, 64 * 5 + 32])
def test_looking_for_maxima_group_by_group_finds_every_tie(columns: int) -> None:
    generator = torch.Generator().manual_seed(2)
    theta = torch.randint(-1, 2, (40, 6), generator=generator).float()  # small integers: many ties
    phi = torch.randint(-1, 2, (6, columns), generator=generator).float()
    colors = torch.randint(-90, 90, (columns, 2), generator=generator).float()
    scores = theta @ phi
    reached = scores == scores.amax(1, keepdim=True)
    assert reached.sum(1).max() > 3
    got = nearest(theta, phi, colors, workspace_bytes=MIB)
    assert torch.equal(got.index, reached.float().argmax(1))
    torch.testing.assert_close(got.color, reached.float() @ colors / reached.sum(1, keepdim=True))
