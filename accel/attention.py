"""Multi-head attention behind one signature: plain math, PyTorch's fused kernel, SageAttention."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


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
