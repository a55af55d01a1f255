"""Sizes: padding to a network's multiples and undoing it; height always before width."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Padding:
    """Pixels added at each side of a picture."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def to_multiple(cls, height: int, width: int, multiple: int) -> Padding:
        """The centered padding that makes both sides multiples of `multiple`.

        An odd rest goes to the bottom and the right.
        """
        vertical, horizontal = -height % multiple, -width % multiple
        top, left = vertical // 2, horizontal // 2
        return cls(top, vertical - top, left, horizontal - left)

    def pad(self, picture: Tensor, *, value: float = 0.0) -> Tensor:
        """picture: (..., H, W). Returns (..., H + top + bottom, W + left + right)."""
        return F.pad(picture, (self.left, self.right, self.top, self.bottom), value=value)

    def crop(self, picture: Tensor) -> Tensor:
        """Undo pad: picture: (..., H + top + bottom, W + left + right) -> (..., H, W)."""
        height, width = picture.shape[-2:]
        return picture[..., self.top : height - self.bottom, self.left : width - self.right]
