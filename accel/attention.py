"""Multi-head attention behind one signature: plain math, PyTorch's fused kernel, SageAttention."""

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

# Compute capabilities that each major version of SageAttention dispatches to.
SAGE_CAPABILITIES: dict[int, frozenset[tuple[int, int]] | None] = {
    1: None,  # Triton only: any from 8.0
    2: frozenset({(8, 0), (8, 6), (8, 9), (9, 0), (12, 0), (12, 1)}),
}
SAGE_BLOCK = 64  # keys per block of its kernels
SAGE_DIM = 96  # the smallest head it takes that leaves room for the mask channel beside 64
SAGE_TOLERANCE = 2e-2  # relative L2 error on normally distributed operands


class Attention(Protocol):
    """softmax(q k^T / sqrt(dim)) v for every head."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, /) -> Tensor:
        """q, k, v: (B, heads, tokens, dim), one dtype. Returns the same shape and dtype."""


def plain(q: Tensor, k: Tensor, v: Tensor, /) -> Tensor:
    """The reference: two products and a float32 softmax. Holds tokens x tokens scores per head."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return torch.softmax(scores.float(), -1).to(v.dtype) @ v


def sdpa(q: Tensor, k: Tensor, v: Tensor, /) -> Tensor:
    """PyTorch's fused kernel; operands are made contiguous, or it takes an unfused path."""
    return F.scaled_dot_product_attention(q.contiguous(), k.contiguous(), v.contiguous())


def sage(kernel: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, /) -> Tensor:
    """SageAttention's INT8 product with the mask that its kernels lack.

    The kernels count keys beyond the last whole block as keys of score 0. So tokens are padded to
    whole blocks and one more channel of v says which keys are real: its result is the share of
    the softmax that real keys received, and dividing by it leaves exactly their softmax, whatever
    score the padding had. Keys are centered here, because the kernels' own centering would write
    into the caller's tensor.

    kernel: sageattention.sageattn. q, k, v: dim at most 64.
    """
    dim, tokens, dtype = q.shape[-1], k.shape[-2], q.dtype
    if dim >= SAGE_DIM:
        raise ValueError(f"dim: expected less than {SAGE_DIM}, got {dim}")
    half = dtype if dtype in (torch.float16, torch.bfloat16) else torch.float16
    channels, more = SAGE_DIM - dim, -tokens % SAGE_BLOCK
    centered = k - k.mean(-2, keepdim=True)
    real = F.pad(v.new_ones(*v.shape[:-1], 1), (0, channels - 1))
    padding = (0, 0, 0, more)
    out = kernel(
        F.pad(q, (0, channels)).to(half),
        F.pad(centered, (0, channels, 0, more)).to(half),
        F.pad(torch.cat((v, real), -1), padding).to(half),
        tensor_layout="HND",
        is_causal=False,
        sm_scale=dim**-0.5,
        smooth_k=False,
    ).float()
    return (out[..., :dim] / out[..., dim : dim + 1]).to(dtype)


def choose_attention(
    facts: Facts, *, use_sage_attention: bool, network_attends: bool
) -> Choice[Facts, Attention]:
    """network_attends: whether the effect's network has layers of this form at all."""
    if not network_attends:
        refusal = Refusal("sage", ("no layer of this network is such an attention",))
        return Choice("attention", NONE, (refusal,) if use_sage_attention else ())
    if not use_sage_attention:
        return choose("attention", [SDPA], facts)
    return choose("attention", [SAGE, SDPA], facts)


def _no_sage(facts: Facts) -> tuple[str, ...]:
    reasons = []
    package = facts.package("sageattention")
    if package.problem:
        reasons.append(package.problem)
    if facts.capability is None:
        return (*reasons, f"needs CUDA, this device is {facts.kind}")
    major = int(package.version.split(".")[0]) if package.version[:1].isdigit() else 1
    wanted, found = SAGE_CAPABILITIES.get(major), f"{facts.capability[0]}.{facts.capability[1]}"
    if facts.capability < (8, 0):
        reasons.append(f"needs CUDA capability 8.0, found {found}")
    elif wanted is not None and facts.capability not in wanted:
        listed = ", ".join(f"{a}.{b}" for a, b in sorted(wanted))
        reasons.append(f"version {package.version} serves CUDA {listed}, found {found}")
    if major == 1 and facts.package("triton").problem:
        reasons.append(facts.package("triton").problem)
    return tuple(reasons)


def _build_sage(_: Facts) -> Attention:
    return partial(sage, importlib.import_module("sageattention").sageattn)


SAGE: Candidate[Facts, Attention] = Candidate(
    "sage", _no_sage, _build_sage, f"relative L2 error {SAGE_TOLERANCE:g} per layer"
)
SDPA: Candidate[Facts, Attention] = Candidate(
    "sdpa", lambda _: (), lambda _: sdpa, "order of float sums"
)
PLAIN: Candidate[Facts, Attention] = Candidate("plain", lambda _: (), lambda _: plain)
NONE: Candidate[Facts, Attention] = Candidate("none", lambda _: (), lambda _: plain)
