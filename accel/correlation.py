"""Dot products of every pixel with its window in another map: lean PyTorch, or the C++ sampler."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from accel.choice import Candidate, Choice, Refusal, choose
from accel.device import Facts
from accel.precision import full

TOLERANCE = 1e-5  # between candidates, per unit of the largest dot product
SWITCHES = ("off", "on", "auto")


class Correlation(Protocol):
    """Dot products of each query pixel with the keys of a square window around it."""

    def __call__(self, query: Tensor, key: Tensor, /, radius: int) -> Tensor:
        """query, key: (B, C, H, W). Returns (B, (2 radius + 1)^2, H, W) float32.

        Window positions are row-major from (-radius, -radius). Sums are float32 whatever the
        operands' dtype. Positions outside the map give 0; whoever calls masks them.
        """


def torch_correlation(query: Tensor, key: Tensor, /, radius: int) -> Tensor:
    """The reference: one banded product of image rows per vertical shift.

    Holds (2 radius + 1)^2 H W results and, for one shift at a time, H W (W + 2 radius) products;
    never the window times channels.
    """
    batch, _, height, width = query.shape
    if key.shape != query.shape:
        raise ValueError(f"key: expected {tuple(query.shape)}, got {tuple(key.shape)}")
    side, span = 2 * radius + 1, width + 2 * radius
    out = query.new_empty(batch, side * side, height, width, dtype=torch.float32)
    with full(query.device):
        rows = query.float().permute(0, 2, 3, 1)  # (B, H, W, C)
        padded = F.pad(key.float(), (radius,) * 4).permute(0, 2, 1, 3)  # (B, H+2r, C, W+2r)
        for dy in range(side):
            band = rows @ padded[:, dy : dy + height]  # (B, H, W, W+2r)
            window = band.contiguous().as_strided(
                (batch, side, height, width),
                (height * width * span, 1, width * span, span + 1),
            )  # its diagonal band: query column x meets key column x + dx
            out[:, dy * side : (dy + 1) * side] = window
    return out


def sampler_correlation(
    sample: Callable[..., Tensor], query: Tensor, key: Tensor, /, radius: int
) -> Tensor:
    """The C++ or CUDA extension, always in float32: it ends the process on bfloat16 and sums in
    the operands' own format.

    sample: spatial_correlation_sampler.spatial_correlation_sample.
    """
    if key.shape != query.shape:
        raise ValueError(f"key: expected {tuple(query.shape)}, got {tuple(key.shape)}")
    side = 2 * radius + 1
    plain = torch.contiguous_format
    pair = (
        query.float().contiguous(memory_format=plain),
        key.float().contiguous(memory_format=plain),
    )
    return sample(*pair, patch_size=side).flatten(1, 2)  # (B, side, side, H, W) before


def choose_correlation(
    facts: Facts, asked: str, *, network_correlates: bool
) -> Choice[Facts, Correlation]:
    """asked: off, on or auto. auto takes the extension on CUDA only: on a CPU it is not faster.

    network_correlates: whether the effect's network has a window correlation at all.
    """
    if asked not in SWITCHES:
        raise ValueError(f"correlation sampler: expected one of {SWITCHES}, got {asked!r}")
    if not network_correlates:
        refusal = Refusal("sampler", ("no layer of this network correlates windows",))
        return Choice("correlation", NONE, (refusal,) if asked == "on" else ())
    if asked == "off" or (asked == "auto" and facts.kind != "cuda"):
        return choose("correlation", [TORCH], facts)
    return choose("correlation", [SAMPLER, TORCH], facts)


def _no_sampler(facts: Facts) -> tuple[str, ...]:
    package = facts.package("spatial_correlation_sampler")
    if package.problem:
        return (package.problem,)
    if facts.kind == "mps":
        return ("it has no kernel for mps",)
    if facts.kind == "cuda" and not package.cuda:
        return ("it was built without CUDA",)
    return ()


def _build_sampler(_: Facts) -> Correlation:
    extension = importlib.import_module("spatial_correlation_sampler")
    return partial(sampler_correlation, extension.spatial_correlation_sample)


SAMPLER: Candidate[Facts, Correlation] = Candidate(
    "sampler", _no_sampler, _build_sampler, f"{TOLERANCE:g} of the largest dot product"
)
TORCH: Candidate[Facts, Correlation] = Candidate("torch", lambda _: (), lambda _: torch_correlation)
NONE: Candidate[Facts, Correlation] = Candidate("none", lambda _: (), lambda _: torch_correlation)
