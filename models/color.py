"""Color conversions on tensors: sRGB, CIE XYZ and CIE Lab (D65, 2 degree observer).

Constants are those of IEC 61966-2-1 and CIE 15 as scikit-image uses them, so that results agree
with the published evaluations of both networks. Nothing is clamped unless a function says so.
"""

from __future__ import annotations

import torch
from torch import Tensor

WHITE_D65 = (0.95047, 1.0, 1.08883)
RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_EPSILON = 0.008856
_KAPPA = 7.787
_OFFSET = 16.0 / 116.0


def srgb_to_linear(rgb: Tensor) -> Tensor:
    """Undo the sRGB curve. rgb: any shape, 0..1 nominal. Negative values use the linear toe."""
    power = ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(rgb > 0.04045, power, rgb / 12.92)


def linear_to_srgb(linear: Tensor) -> Tensor:
    """Apply the sRGB curve. linear: any shape, 0..1 nominal."""
    power = 1.055 * linear.clamp(min=0.0031308) ** (1.0 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, power, linear * 12.92)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """rgb: (B, 3, H, W), sRGB-encoded, 0..1. Returns (B, 3, H, W): L in [0, 100], then a and b."""
    return linear_rgb_to_lab(srgb_to_linear(rgb))


def linear_rgb_to_lab(linear: Tensor) -> Tensor:
    """linear: (B, 3, H, W), linear Rec.709 primaries. Returns (B, 3, H, W) CIE Lab."""
    matrix = linear.new_tensor(RGB_TO_XYZ)
    xyz = torch.einsum("ij,bjhw->bihw", matrix, linear)
    f = _f(xyz / linear.new_tensor(WHITE_D65).view(1, 3, 1, 1))
    fx, fy, fz = f.unbind(1)
    return torch.stack((116.0 * fy - 16.0, 500.0 * (fx - fy), 200.0 * (fy - fz)), 1)


def lab_to_linear_rgb(lab: Tensor) -> Tensor:
    """lab: (B, 3, H, W). Returns (B, 3, H, W) linear Rec.709; outside 0..1 where out of gamut."""
    lightness, a, b = lab.unbind(1)
    fy = (lightness + 16.0) / 116.0
    f = torch.stack((a / 500.0 + fy, fy, fy - b / 200.0), 1)
    xyz = _f_inverse(f) * lab.new_tensor(WHITE_D65).view(1, 3, 1, 1)
    matrix = torch.linalg.inv(torch.tensor(RGB_TO_XYZ, dtype=torch.float64)).to(lab)
    return torch.einsum("ij,bjhw->bihw", matrix, xyz)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """lab: (B, 3, H, W). Returns (B, 3, H, W) sRGB-encoded, not clamped."""
    return linear_to_srgb(lab_to_linear_rgb(lab))


def gray_to_luma(gray: Tensor) -> Tensor:
    """gray: sRGB-encoded gray, any shape, 0..1. Returns CIE L of that gray, same shape."""
    return 116.0 * _f(srgb_to_linear(gray)) - 16.0


def luma_to_gray(luma: Tensor) -> Tensor:
    """luma: CIE L, any shape. Returns the sRGB-encoded gray of that L, same shape."""
    return linear_to_srgb(_f_inverse((luma + 16.0) / 116.0))


def _f(t: Tensor) -> Tensor:
    cube_root = t.clamp(min=_EPSILON) ** (1.0 / 3.0)
    return torch.where(t > _EPSILON, cube_root, _KAPPA * t + _OFFSET)


def _f_inverse(f: Tensor) -> Tensor:
    return torch.where(f > 0.2068966, f**3, (f - _OFFSET) / _KAPPA)
