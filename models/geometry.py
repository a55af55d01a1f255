"""Sizes: working size, fitting and padding to a network's multiples; height before width."""

from __future__ import annotations

from dataclasses import dataclass

import torch
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


def working_size(height: int, width: int, long_side: int) -> tuple[int, int]:
    """The size at which a network sees a picture: its aspect, its long side at most `long_side`.

    A picture is never enlarged for a network. Returns (height, width), each at least 1.
    """
    if min(height, width, long_side) < 1:
        raise ValueError(
            f"expected sizes of at least 1, got {height}x{width} and long side {long_side}"
        )
    scale = min(1.0, long_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(picture: Tensor, height: int, width: int) -> Tensor:
    """Resample with a triangle filter that covers the pixels it replaces (no aliasing).

    picture: (B, C, H, W) float. Returns (B, C, height, width).
    """
    if picture.shape[-2:] == (height, width):
        return picture
    return F.interpolate(
        picture, (height, width), mode="bilinear", align_corners=False, antialias=True
    )


def fit(picture: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Scale a picture as a whole into a frame of another aspect; never cropped, never stretched.

    The border that remains is invented by mirroring the picture. picture: (B, C, H, W) float.
    Returns the fitted (B, C, height, width) and valid (1, 1, height, width): 1 where it is real.
    """
    own_height, own_width = picture.shape[-2:]
    scale = min(height / own_height, width / own_width)
    inner_height, inner_width = round(own_height * scale), round(own_width * scale)
    # A rest of one pixel is rounding, not a border.
    inner_height = height if height - inner_height <= 1 else max(1, inner_height)
    inner_width = width if width - inner_width <= 1 else max(1, inner_width)
    inner = resize(picture, inner_height, inner_width)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    rows = _mirrored(torch.arange(height, device=picture.device) - top, inner_height)
    columns = _mirrored(torch.arange(width, device=picture.device) - left, inner_width)
    valid = picture.new_zeros(1, 1, height, width)
    valid[..., top : top + inner_height, left : left + inner_width] = 1.0
    return inner[..., rows, :][..., columns], valid


def _mirrored(index: Tensor, size: int) -> Tensor:
    """Indices reflected into 0..size-1 as often as it takes; the outermost pixel repeats."""
    folded = index % (2 * size)
    return torch.where(folded < size, folded, 2 * size - 1 - folded)
