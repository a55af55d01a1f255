"""Metrics of a colored clip against its truth, as defined for ChromaBridge's quality tables.

Frames are (H, W, 3) uint8 RGB unless said otherwise. Sources: CIE 142-2001 with the formulas of
Sharma, Wu and Dalal (2005) for CIEDE2000; Wang et al. (2004) for SSIM; Hasler and Suesstrunk (2003)
for colorfulness; Liu et al. (2021, TCVC) for CDC.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from models.color import rgb_to_lab

Array = np.ndarray[Any, np.dtype[Any]]


def to_lab(frame: Array) -> Array:
    """(H, W, 3) uint8 to CIE Lab (D65), float64."""
    rgb = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].double() / 255
    return np.asarray(rgb_to_lab(rgb)[0].permute(1, 2, 0).numpy())


def psnr(truth: Array, result: Array) -> float:
    """10 log10(255^2 / MSE) over all pixels and channels, in float64; inf for equal pictures."""
    error = float(np.mean((truth.astype(np.float64) - result.astype(np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255.0**2 / error)


def psnr_ab(truth: Array, result: Array) -> float:
    """PSNR of a and b; truth, result: (H, W, 3) Lab. Peak 255."""
    return psnr(truth[..., 1:], result[..., 1:])


def ssim(truth: Array, result: Array) -> float:
    """Mean structural similarity: 7 x 7 uniform window, sample covariance, mean over channels."""
    x, y = truth.astype(np.float64), result.astype(np.float64)
    size, c1, c2 = 7, (0.01 * 255) ** 2, (0.03 * 255) ** 2
    unbias = size**2 / (size**2 - 1)
    mx, my = _box(x, size), _box(y, size)
    vx = unbias * (_box(x * x, size) - mx * mx)
    vy = unbias * (_box(y * y, size) - my * my)
    cov = unbias * (_box(x * y, size) - mx * my)
    top = (2 * mx * my + c1) * (2 * cov + c2)
    return float(np.mean(top / ((mx * mx + my * my + c1) * (vx + vy + c2))))


def ciede2000(first: Array, second: Array) -> Array:
    """Color difference of Lab pictures (..., 3), each pixel; kL = kC = kH = 1."""
    l1, a1, b1 = np.moveaxis(first.astype(np.float64), -1, 0)
    l2, a2, b2 = np.moveaxis(second.astype(np.float64), -1, 0)
    c_mean = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    c7 = c_mean**7
    g = 0.5 * (1 - np.sqrt(c7 / (c7 + 25.0**7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1 = np.degrees(np.arctan2(b1, a1)) % 360
    h2 = np.degrees(np.arctan2(b2, a2)) % 360
    gray = c1 * c2 == 0
    dh = h2 - h1
    dh = np.where(dh > 180, dh - 360, np.where(dh < -180, dh + 360, dh))
    dh = np.where(gray, 0, dh)
    dl, dc = l2 - l1, c2 - c1
    dhh = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(dh / 2))
    lm, cm = (l1 + l2) / 2, (c1 + c2) / 2
    far = np.abs(h1 - h2) > 180
    hm = np.where(far, np.where(h1 + h2 < 360, h1 + h2 + 360, h1 + h2 - 360), h1 + h2) / 2
    hm = np.where(gray, h1 + h2, hm)
    t = (
        1
        - 0.17 * np.cos(np.radians(hm - 30))
        + 0.24 * np.cos(np.radians(2 * hm))
        + 0.32 * np.cos(np.radians(3 * hm + 6))
        - 0.20 * np.cos(np.radians(4 * hm - 63))
    )
    turn = np.radians(30 * np.exp(-(((hm - 275) / 25) ** 2)))
    rc = 2 * np.sqrt(cm**7 / (cm**7 + 25.0**7))
    sl = 1 + 0.015 * (lm - 50) ** 2 / np.sqrt(20 + (lm - 50) ** 2)
    sc, sh = 1 + 0.045 * cm, 1 + 0.015 * cm * t
    x, y, z = dl / sl, dc / sc, dhh / sh
    return np.asarray(np.sqrt(np.maximum(0, x * x + y * y + z * z - np.sin(2 * turn) * rc * y * z)))


def colorfulness(frame: Array) -> float:
    """sqrt(s_rg^2 + s_yb^2) + 0.3 sqrt(m_rg^2 + m_yb^2)."""
    r, g, b = np.moveaxis(frame.astype(np.float64), -1, 0)
    rg, yb = r - g, (r + g) / 2 - b
    return float(np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()))


def cdc(frames: Sequence[Array]) -> float:
    """Color distribution consistency: JS divergence of histograms 1, 2 and 4 frames apart."""
    histograms = np.stack(
        [[np.bincount(f[..., c].ravel(), minlength=256) / f[..., c].size for c in range(3)]
         for f in frames]
    )  # fmt: skip  # (T, 3, 256)
    gaps = [g for g in (1, 2, 4) if g < len(frames)]
    means = [np.mean(_divergence(histograms[:-g], histograms[g:])) for g in gaps]
    return float(np.mean(means))


def temporal_error(truth: Sequence[Array], result: Sequence[Array]) -> float:
    """Mean abs difference between the result's and the truth's change of ab, frame to frame.

    truth, result: (H, W, 3) Lab, in order.
    """
    pairs = zip(truth, truth[1:], result, result[1:], strict=False)
    return float(np.mean([np.abs((r1 - r0)[..., 1:] - (t1 - t0)[..., 1:]).mean()
                          for t0, t1, r0, r1 in pairs]))  # fmt: skip


def flicker(truth: Sequence[Array], result: Sequence[Array]) -> float:
    """Mean abs change of ab where the truth's luma stood still (less than one code in 8 bits)."""
    moved = []
    for t0, t1, r0, r1 in zip(truth, truth[1:], result, result[1:], strict=False):
        still = np.abs(t1[..., 0] - t0[..., 0]) < 100 / 255
        if still.any():
            moved.append(np.abs(r1 - r0)[..., 1:][still].mean())
    return float(np.mean(moved)) if moved else 0.0


def _divergence(p: Array, q: Array) -> Array:
    m = (p + q) / 2

    def kl(x: Array) -> Array:
        ratio = np.divide(x, m, out=np.ones_like(x), where=x > 0)
        return np.asarray((x * np.log(ratio)).sum(-1))

    return (kl(p) + kl(q)) / 2


def _box(picture: Array, size: int) -> Array:
    """Means of all whole size x size windows, from sums; picture: (H, W, C) float64."""
    sums = np.pad(picture.cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    total = sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size]
    return np.asarray(total / size**2)
