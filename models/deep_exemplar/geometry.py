"""Sizes of one shot: the working size, its padding and the size that the networks run at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.geometry import Padding

CELL = 4  # network pixels a side of one matched position
_ROWS, _COLUMNS = 8, 16  # network heights are multiples of 8 (a row pair is replicated), widths 16
_SMALLEST = 32  # below, a feature map is too small to be reflected
_NONE = Padding(0, 0, 0, 0)


@dataclass(frozen=True)
class Geometry:
    """How pictures of one working size go into the networks and come back.

    height, width: the working size. padding: around it. factor: working pixels a network pixel.
    """

    height: int
    width: int
    padding: Padding
    factor: int

    @classmethod
    def of(cls, height: int, width: int, *, half: bool) -> Geometry:
        """The geometry of a working size; half runs the networks at half of it.

        Sizes that the official code takes are not padded.
        """
        factor = 2 if half else 1
        top, bottom = _split(height, _ROWS * factor, _SMALLEST * factor)
        left, right = _split(width, _COLUMNS * factor, _SMALLEST * factor)
        return cls(height, width, Padding(top, bottom, left, right), factor)

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of matched positions."""
        height = self.height + self.padding.top + self.padding.bottom
        width = self.width + self.padding.left + self.padding.right
        return height // (self.factor * CELL), width // (self.factor * CELL)

    def padded(self, picture: Tensor) -> Tensor:
        """picture: (1, C, H, W) at working size. Returns it with its edges repeated outwards."""
        padding = self.padding
        if padding == _NONE:
            return picture
        sides = (padding.left, padding.right, padding.top, padding.bottom)
        return F.pad(picture, sides, mode="replicate")

    def to_network(self, picture: Tensor) -> Tensor:
        """picture: (1, C, H, W) at working size. Returns (1, C, h, w); half averages 2 x 2."""
        picture = self.padded(picture)
        if self.factor == 1:
            return picture
        return F.interpolate(picture, scale_factor=0.5, mode="bilinear")

    def to_working(self, picture: Tensor) -> Tensor:
        """picture: (1, C, h, w). Returns (1, C, H, W), bilinear."""
        if self.factor != 1:
            picture = F.interpolate(picture, scale_factor=self.factor, mode="bilinear")
        return self.padding.crop(picture)

    def validity(self, valid: Tensor | None, *, like: Tensor) -> Tensor | None:
        """Where the padded exemplar is a picture and no invented border.

        valid: (1, 1, H, W), 1 where real, or None. like: (1, 1, H, W), for dtype and device.
        Returns (1, 1, H + padding, W + padding) of 0 and 1, or None when all of it is real.
        """
        if self.padding == _NONE and (valid is None or bool((valid > 0.5).all())):
            return None
        real = torch.ones_like(like) if valid is None else (valid > 0.5).to(like.dtype)
        return self.padding.pad(real)


def _split(size: int, multiple: int, smallest: int) -> tuple[int, int]:
    """The padding before and after; an odd rest goes behind."""
    total = max(smallest, size + -size % multiple) - size
    return total // 2, total - total // 2
