"""Bring chroma from working size to full size along the edges of the full-size luma."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from models.geometry import resize

#: Variance of luma (L units squared) below which structure counts as noise: four L steps.
_NOISE = 16.0
#: How much of what averaging over working pixels took away is put back.
_SHARPEN = 0.25


def upscale_chroma(
    chroma: Tensor, gray: Tensor, strength: float = 1.0, *, gray_small: Tensor | None = None
) -> Tensor:
    """Upscale chroma, guided by full-size luma.

    The base is a bicubic upscale of the chroma. In windows of 3 x 3 working pixels a local linear
    model chroma = slope * luma + offset is fitted, as in the guided filter (He, Sun, Tang 2013,
    eq. 5; at working size as in He and Sun 2015); slope times the luma detail that the working
    size cannot hold is added, weighted by the squared correlation of the two, so that texture
    that says nothing about color adds nothing.

    chroma: (B, 2, h, w), CIE a and b. gray: (B, 1, H, W), display-encoded, 0..1 nominal. strength:
    of the luma guidance, 0 is the plain bicubic. gray_small: (B, 1, h, w), the gray at working
    size if it is at hand. Returns (B, 2, H, W) in the dtype of `chroma`.
    """
    height, width = gray.shape[-2:]
    small = chroma.shape[-2:]
    if small == (height, width):
        return chroma
    guide = gray.to(chroma.dtype).clamp(0.0, 1.0).mul_(100.0)
    if gray_small is None:
        guide_small = resize(guide, small[0], small[1])
    else:
        guide_small = gray_small.to(chroma.dtype).clamp(0.0, 1.0) * 100.0
    mean = _window_mean(chroma)
    base = _bicubic(chroma + _SHARPEN * (chroma - mean), height, width)
    if strength == 0.0:
        return base
    slope = _slope(chroma, mean, guide_small).mul_(strength)
    detail = guide.sub_(_bilinear(guide_small, height, width))
    return base.addcmul_(_bilinear(slope, height, width), detail)


def _slope(chroma: Tensor, mean: Tensor, luma: Tensor) -> Tensor:
    """Slope of chroma over luma around each working pixel, weighted by how well it explains."""
    luma_mean = _window_mean(luma)
    covariance = _window_mean(luma * chroma) - luma_mean * mean
    luma_variance = (_window_mean(luma * luma) - luma_mean * luma_mean).clamp_(min=0.0) + _NOISE
    variance = (_window_mean(chroma * chroma) - mean * mean).clamp_(min=0.0) + 1.0
    correlation = (covariance * covariance / (luma_variance * variance)).clamp_(max=1.0)
    return _window_mean(covariance / luma_variance * correlation)


def _window_mean(planes: Tensor) -> Tensor:
    """Mean over 3 x 3, edges repeated; by sums of shifted planes, far faster than pooling."""
    padded = F.pad(planes, (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    return (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) * (1.0 / 9.0)


def _bicubic(planes: Tensor, height: int, width: int) -> Tensor:
    # antialias=True selects the separable code, which is faster; enlarging needs no low-pass.
    # It knows no half floats on every device.
    wide = planes if planes.device.type == "cpu" else planes.float()
    return F.interpolate(wide, (height, width), mode="bicubic", antialias=True).to(planes.dtype)


def _bilinear(planes: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(planes, (height, width), mode="bilinear", align_corners=False)
