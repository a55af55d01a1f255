"""The fast global smoother: edge-aware smoothing by tridiagonal solves along rows and columns.

Min et al., "Fast Global Image Smoothing Based on Weighted Least Squares", IEEE TIP 2014, eq. 5-9,
with the constants of the official driver. The solves of all rows (or columns) run side by side.
"""

from __future__ import annotations

import torch
from torch import Tensor

LAMBDA = 500.0
SIGMA = 4.0
ATTENUATION = 0.25
ITERATIONS = 3


def smoothed(chroma: Tensor, luma: Tensor) -> Tensor:
    """Smooth chroma where luma is flat, and keep it apart across luma's edges.

    chroma: (1, C, H, W). luma: (1, 1, H, W), CIE L in [0, 100]; its 8-bit rounding is the guide.
    Returns (1, C, H, W) in chroma's dtype. It is linear in chroma.
    """
    if chroma.shape[-2:] != luma.shape[-2:]:
        raise ValueError(
            f"expected chroma and luma of one size, got {tuple(chroma.shape)}, {tuple(luma.shape)}"
        )
    guide = (luma[0, 0] * (255 / 100)).clamp(0, 255).trunc().to(chroma.dtype)  # (H, W)
    rows = torch.exp(-guide.diff(dim=1).abs() / SIGMA)  # (H, W - 1)
    columns = torch.exp(-guide.diff(dim=0).abs() / SIGMA)  # (H - 1, W)
    u = chroma[0].permute(2, 0, 1)  # (W, C, H): the axis to solve along comes first
    strength = LAMBDA
    for _ in range(ITERATIONS):
        u = solve_tridiagonal(u.contiguous(), rows.T[:, None] * strength)
        u = solve_tridiagonal(u.permute(2, 1, 0).contiguous(), columns[:, None] * strength)
        u = u.permute(2, 1, 0)
        strength *= ATTENUATION
    return u.permute(1, 2, 0)[None].contiguous()


def solve_tridiagonal(values: Tensor, weights: Tensor) -> Tensor:
    """Solve (I + D) u = values along the first axis, D the Laplacian of neighbors' weights.

    values: (N, ...). weights: (N - 1, ...), broadcasting against values[0]; all >= 0.
    Thomas' sweep: stable without pivoting, since the matrix is diagonally dominant.
    """
    count = values.shape[0]
    zero = torch.zeros_like(weights[:1]) if count > 1 else values.new_zeros(1)
    before = torch.cat((zero, weights)) if count > 1 else zero  # weight to the previous one
    after = torch.cat((weights, zero)) if count > 1 else zero
    diagonal = 1 + before + after
    ratios, solved = [], []
    ratio, u = torch.zeros_like(zero[0]), torch.zeros_like(values[0])
    for i in range(count):
        pivot = diagonal[i] - before[i] * ratio
        u = (values[i] + before[i] * u) / pivot
        ratio = after[i] / pivot
        ratios.append(ratio)
        solved.append(u)
    for i in range(count - 2, -1, -1):
        solved[i] = solved[i] + ratios[i] * solved[i + 1]
    return torch.stack(solved)
