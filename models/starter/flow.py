"""Optical flow (OpenCV's DIS) that carries the last frame's chroma into this one.

OpenCV is optional: `why_no_flow` tells why it cannot serve.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

AGREEMENT = 1.5  # pixels between the way there and back at which trust falls to 1/e
LIKENESS = 12.0  # CIE L between a pixel and where it came from, likewise


@dataclass(frozen=True)
class Carried:
    """chroma: (1, 2, H, W), warped. trust: (1, 1, H, W) in [0, 1]."""

    chroma: Tensor
    trust: Tensor


def why_no_flow() -> tuple[str, ...]:
    """Reasons why flow cannot be computed here; empty when it can."""
    try:
        import cv2
    except (ImportError, OSError) as error:
        return (f"opencv-python-headless cannot be imported: {error}",)
    if not hasattr(cv2, "DISOpticalFlow"):
        return (f"OpenCV {cv2.__version__} has no DIS optical flow",)
    return ()


def carry(chroma: Tensor, before: Tensor, now: Tensor) -> Carried:
    """Move the chroma of the frame before to the one now.

    chroma: (1, 2, H, W); before, now: (1, 1, H, W), CIE L, on the CPU or elsewhere.
    Trust is exp(-(d / 1.5)^2 - (dL / 12)^2): d is how far forward and backward flow disagree, dL
    how much lightness differs.
    Raises ValueError when flow is not to be had.
    """
    reasons = why_no_flow()
    if reasons:
        raise ValueError(f"temporal_blend: expected optical flow, got none: {'; '.join(reasons)}")
    backward = _flow(now, before).to(chroma.device)  # for each pixel now, where it was
    forward = _flow(before, now).to(chroma.device)
    grid = _grid(backward)
    moved = _warp(torch.cat((chroma, before, forward), 1), grid)
    apart = torch.linalg.vector_norm(backward + moved[:, 3:5], dim=1, keepdim=True)
    unlike = moved[:, 2:3] - now
    trust = torch.exp(-((apart / AGREEMENT) ** 2) - (unlike / LIKENESS) ** 2)
    inside = (grid.abs() <= 1).all(-1)[:, None]
    return Carried(moved[:, :2], trust * inside)


def _flow(here: Tensor, there: Tensor) -> Tensor:
    """Returns (1, 2, H, W): x and y of the motion from here to there, in pixels."""
    import cv2

    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    first, second = (
        (p[0, 0] * 2.55).clamp(0, 255).round().to(torch.uint8).cpu().numpy() for p in (here, there)
    )
    return torch.from_numpy(flow.calc(first, second, None)).permute(2, 0, 1)[None].float()


def _grid(flow: Tensor) -> Tensor:
    """Sampling positions in [-1, 1] for grid_sample, (1, H, W, 2)."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device, dtype=torch.float32) + flow[:, 0]
    y = torch.arange(height, device=flow.device, dtype=torch.float32)[:, None] + flow[:, 1]
    return torch.stack((2 * x / max(1, width - 1) - 1, 2 * y / max(1, height - 1) - 1), -1)


def _warp(picture: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(
        picture.float(), grid, mode="bilinear", padding_mode="border", align_corners=True
    )
