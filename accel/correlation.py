"""Dot products of every pixel with its window in another map: lean PyTorch, or the C++ sampler."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


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
    with torch.autocast(query.device.type, enabled=False):
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
