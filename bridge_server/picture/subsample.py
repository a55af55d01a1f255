"""Full-size planes to the grid of sub-sampled chroma."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bridge_server.media.frame import YcbcrCoding


def subsample(planes: Tensor, coding: YcbcrCoding) -> Tensor:
    """Average onto the chroma samples of a coding; edges repeat.

    A sample that sits on a luma sample takes 1-2-1 weights (MPEG's left siting across), one that
    sits between two takes their mean. planes: (H, W) or (C, H, W) float32.
    """
    if coding.shift_x == 0 and coding.shift_y == 0:
        return planes
    work = planes.reshape(-1, 1, *planes.shape[-2:])
    on_column = coding.siting in ("left", "topleft")
    for _ in range(coding.shift_x):
        work = _halve(work, on_sample=on_column)
    work = work.transpose(-1, -2)
    for _ in range(coding.shift_y):
        work = _halve(work, on_sample=coding.siting == "topleft")
    work = work.transpose(-1, -2)
    return work.reshape(*planes.shape[:-2], *work.shape[-2:]).contiguous()


def _halve(work: Tensor, *, on_sample: bool) -> Tensor:
    """Halve the last side, rounding up. work: (N, 1, H, W)."""
    width = work.shape[-1]
    even = F.pad(work, (0, width % 2, 0, 0), mode="replicate")
    left, right = even[..., 0::2], even[..., 1::2]
    if not on_sample:
        return (left + right) * 0.5
    before = torch.cat((left[..., :1], right[..., :-1]), -1)
    return left * 0.5 + (before + right) * 0.25
