"""The window correlation against its definition, and the extension against the reference."""

from __future__ import annotations

import importlib
import importlib.util
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accel.correlation import TOLERANCE, choose_correlation, sampler_correlation, torch_correlation
from accel.device import Facts, Package


def by_definition(query: Tensor, key: Tensor, radius: int) -> Tensor:
    """One shifted product at a time, row-major from (-radius, -radius)."""
    height, width = query.shape[-2:]
    padded = F.pad(key, (radius,) * 4)
    shifts = range(2 * radius + 1)
    return torch.stack(
        [
            (query * padded[..., dy : dy + height, dx : dx + width]).sum(1)
            for dy in shifts
            for dx in shifts
        ],
        1,
    )


def maps(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    query, key = torch.randn(2, *shape, generator=generator).unbind()
    return query, key


@pytest.mark.parametrize(
    ("shape", "radius"), [((1, 64, 9, 13), 7), ((2, 8, 6, 5), 2), ((1, 3, 1, 4), 1)]
)
def test_the_reference_follows_the_definition(shape: tuple[int, ...], radius: int) -> None:
    query, key = maps(*shape)
    out = torch_correlation(query, key, radius=radius)
    torch.testing.assert_close(out, by_definition(query, key, radius), rtol=0, atol=2e-5)


def test_the_first_window_position_is_up_and_left() -> None:
    key = torch.zeros(1, 1, 3, 3)
    key[0, 0, 0, 0] = 5.0
    out = torch_correlation(torch.ones(1, 1, 3, 3), key, radius=1)
    assert out[0, 0, 1, 1] == 5.0
    assert out.sum() == 4 * 5.0, "positions outside the map must be 0"


def test_sums_are_float32_under_autocast_and_for_half_operands() -> None:
    query, key = maps(1, 64, 6, 6)
    wanted = torch_correlation(query.bfloat16().float(), key.bfloat16().float(), radius=3)
    with torch.autocast("cpu", torch.bfloat16):
        found = torch_correlation(query.bfloat16(), key.bfloat16(), radius=3)
    assert found.dtype is torch.float32
    assert torch.equal(found, wanted)


def test_maps_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="key: expected"):
        torch_correlation(torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3, 5), radius=1)


class Recorder:
    """Stands in for the extension: it ends the process on anything but float32."""

    def __call__(self, query: Tensor, key: Tensor, *, patch_size: int) -> Tensor:
        assert query.dtype is key.dtype is torch.float32
        assert query.is_contiguous()
        assert key.is_contiguous()
        flat = by_definition(query, key, patch_size // 2)
        return flat.unflatten(1, (patch_size, patch_size))


def test_the_extension_only_ever_sees_contiguous_float32() -> None:
    query, key = (t.to(memory_format=torch.channels_last).bfloat16() for t in maps(1, 8, 5, 6))
    found = sampler_correlation(Recorder(), query, key, radius=2)
    wanted = torch_correlation(query, key, radius=2)
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)


@pytest.mark.skipif(
    importlib.util.find_spec("spatial_correlation_sampler") is None,
    reason="spatial-correlation-sampler is not installed",
)
@pytest.mark.parametrize("shape", [(1, 64, 35, 42), (2, 16, 7, 9)])
def test_the_real_extension_equals_the_reference(shape: tuple[int, ...]) -> None:
    extension = importlib.import_module("spatial_correlation_sampler")
    serve = partial(sampler_correlation, extension.spatial_correlation_sample)
    query, key = maps(*shape)
    wanted = torch_correlation(query, key, radius=7)
    bound = TOLERANCE * float(wanted.abs().max())
    torch.testing.assert_close(serve(query, key, radius=7), wanted, rtol=0, atol=bound)


def facts(kind: str, package: Package | None = None) -> Facts:
    packages = () if package is None else (package,)
    return Facts(kind, "invented", 1, 1, "2.6", packages=packages)


CPU_BUILD = Package("spatial_correlation_sampler", "0.5.0")
CUDA_BUILD = Package("spatial_correlation_sampler", "0.5.0", cuda=True)


@pytest.mark.parametrize(
    ("where", "asked", "line"),
    [
        (facts("cuda", CUDA_BUILD), "auto", "correlation: sampler"),
        (facts("cuda", CUDA_BUILD), "off", "correlation: torch"),
        (
            facts("cuda", CPU_BUILD),
            "auto",
            "correlation: torch (sampler: it was built without CUDA)",
        ),
        (
            facts("cuda"),
            "auto",
            "correlation: torch (sampler: spatial-correlation-sampler is not installed)",
        ),
        (facts("cpu", CPU_BUILD), "on", "correlation: sampler"),
        (facts("cpu", CPU_BUILD), "auto", "correlation: torch"),
        (
            facts("mps", CPU_BUILD),
            "on",
            "correlation: torch (sampler: it has no kernel for mps)",
        ),
    ],
)
def test_the_sampler_serves_where_it_can(where: Facts, asked: str, line: str) -> None:
    assert str(choose_correlation(where, asked, network_correlates=True)) == line


def test_a_network_without_windows_says_so() -> None:
    choice = choose_correlation(facts("cuda", CUDA_BUILD), "on", network_correlates=False)
    assert choice.refusals[0].reasons == ("no layer of this network correlates windows",)
