"""CIEDE2000, the color difference that all figures of error are given in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FAR = 25.0**7


def ciede2000(first: Tensor, second: Tensor) -> Tensor:
    """first, second: (..., 3, H, W) CIE Lab. Returns (..., H, W); symmetric, 0 where equal.

    Sharma, Wu and Dalal, 2005, with all weights 1; in float64, for its terms nearly cancel.
    """
    l1, a1, b1 = first.double().unbind(-3)
    l2, a2, b2 = second.double().unbind(-3)
    chroma = (torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * torch.sqrt(chroma**7 / (chroma**7 + _FAR))
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = torch.hypot(a1, b1), torch.hypot(a2, b2)
    h1, h2 = _hue(a1, b1), _hue(a2, b2)
    gray = c1 * c2 == 0
    turn = _wrapped(h2 - h1).masked_fill(gray, 0.0)
    lightness, mean_chroma = (l1 + l2) / 2, (c1 + c2) / 2
    hue = torch.where(gray, h1 + h2, _mean_hue(h1, h2))
    weight = (
        1
        - 0.17 * torch.cos(torch.deg2rad(hue - 30))
        + 0.24 * torch.cos(torch.deg2rad(2 * hue))
        + 0.32 * torch.cos(torch.deg2rad(3 * hue + 6))
        - 0.20 * torch.cos(torch.deg2rad(4 * hue - 63))
    )
    off = (lightness - 50) ** 2
    light = (l2 - l1) / (1 + 0.015 * off / torch.sqrt(20 + off))
    colored = (c2 - c1) / (1 + 0.045 * mean_chroma)
    turned = 2 * torch.sqrt(c1 * c2) * torch.sin(torch.deg2rad(turn / 2))
    turned = turned / (1 + 0.015 * mean_chroma * weight)
    angle = 60 * torch.exp(-(((hue - 275) / 25) ** 2))
    rotation = -2 * torch.sqrt(mean_chroma**7 / (mean_chroma**7 + _FAR))
    rotation = rotation * torch.sin(torch.deg2rad(angle))
    total = light**2 + colored**2 + turned**2 + rotation * colored * turned
    return torch.sqrt(total.clamp(min=0))


def _hue(a: Tensor, b: Tensor) -> Tensor:
    """Degrees in [0, 360)."""
    return torch.atan2(b, a).mul(180 / math.pi).remainder(360)


def _wrapped(angle: Tensor) -> Tensor:
    """The same turn in [-180, 180]."""
    angle = torch.where(angle > 180, angle - 360, angle)
    return torch.where(angle < -180, angle + 360, angle)


def _mean_hue(first: Tensor, second: Tensor) -> Tensor:
    """The hue halfway along the shorter arc."""
    total, apart = first + second, (first - second).abs()
    far = torch.where(total < 360, total + 360, total - 360)
    return torch.where(apart > 180, far, total) / 2
