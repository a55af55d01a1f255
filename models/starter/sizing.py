"""From working size to the size that the starter network runs at, and its chroma back up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from models.geometry import Padding

RADIUS = 2
FLATNESS = 6.0  # variance of L, below which chroma is not taken to follow luma


@dataclass(frozen=True)
class Sizing:
    """height, width: working size. inner: the size the network sees, before padding."""

    height: int
    width: int
    inner: tuple[int, int]
    padding: Padding

    @classmethod
    def fit(cls, height: int, width: int, *, max_tokens: int, stride: int) -> Sizing:
        """Keep the aspect; at most max_tokens tokens of 8 x 8 pixels.

        Raises ValueError for a size below 16 pixels.
        """
        if min(height, width) < 16:
            raise ValueError(f"working size: expected at least 16 x 16, got {height} x {width}")
        scale = min(1.0, math.sqrt(max_tokens * 64 / (height * width)))
        inner = (max(16, round(height * scale)), max(16, round(width * scale)))
        return cls(height, width, inner, Padding.to_multiple(*inner, stride))

    @property
    def shrinks(self) -> bool:
        return self.inner != (self.height, self.width)

    def down(self, picture: Tensor) -> Tensor:
        """(B, C, height, width) to the inner size."""
        if not self.shrinks:
            return picture
        return F.interpolate(
            picture, self.inner, mode="bilinear", align_corners=False, antialias=True
        )

    def pad(self, picture: Tensor) -> Tensor:
        """Inner size to multiples of the stride, repeating the border."""
        sides = (self.padding.left, self.padding.right, self.padding.top, self.padding.bottom)
        return F.pad(picture, sides, mode="replicate") if any(sides) else picture

    def crop(self, picture: Tensor) -> Tensor:
        return self.padding.crop(picture)

    def up(self, chroma: Tensor, luma_inner: Tensor, luma: Tensor) -> Tensor:
        """Chroma of the inner size to working size, its edges put where luma has them.

        chroma: (1, 2, h, w); luma_inner: (1, 1, h, w); luma: (1, 1, height, width), CIE L.
        Chroma is taken as linear in luma near each pixel, as in the guided filter (He, Sun and
        Tang 2013, equations 5 to 8); that line's slope times the luma detail that the inner size
        lost is added to the enlarged chroma.
        """
        if not self.shrinks:
            return chroma
        mean_l, mean_c = _box(luma_inner), _box(chroma)
        variance = _box(luma_inner * luma_inner) - mean_l * mean_l
        covariance = _box(luma_inner * chroma) - mean_l * mean_c
        slope = self._enlarge(_box(covariance / (variance + FLATNESS)))
        return self._enlarge(chroma) + slope * (luma - self._enlarge(luma_inner))

    def _enlarge(self, picture: Tensor) -> Tensor:
        return F.interpolate(
            picture, (self.height, self.width), mode="bilinear", align_corners=False
        )


def _box(picture: Tensor) -> Tensor:
    size = 2 * RADIUS + 1
    padded = F.pad(picture, (RADIUS, RADIUS, RADIUS, RADIUS), mode="replicate")
    return F.avg_pool2d(padded, size, stride=1)
