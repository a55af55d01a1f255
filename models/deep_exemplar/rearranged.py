"""Convolutions with the same algebra and fewer multiplications, put into a copy of a network.

Results differ from the plain ones by rounding only: 1e-6 relative (folded upsampling), 1e-5 of the
greatest value (Winograd).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.winograd import matrices, transformed

N = TypeVar("N", bound=nn.Module)

_LEAST_CHANNELS = 128  # below, Winograd's transforms cost more than its products save
_TILES = 512  # transformed together, which bounds the workspace and stays near the caches


def with_folded_upsampling(network: N) -> N:
    """A copy in which every Sequential(nearest x2, 3 x 3 convolution) is one transposed one."""
    return _replaced(network, _folded)


def with_winograd(network: N) -> N:
    """A copy in which the wide 3 x 3 convolutions of stride 1 run as Winograd's, float32 only."""
    return _replaced(network, _winograd)


class FoldedUpsampling(nn.Module):
    """Nearest x2, then a 3 x 3 convolution: 4 of its 9 taps fall on pixels already read.

    As a transposed convolution of stride 2 whose 4 x 4 kernel is the 3 x 3 one spread by 2 x 2.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        box = torch.ones(1, 1, 2, 2, dtype=torch.float64)
        flipped = convolution.weight.detach().double().flip(2, 3)
        channels, channels_in = flipped.shape[:2]
        spread = F.conv_transpose2d(flipped.reshape(-1, 1, 3, 3), box)
        spread = spread.reshape(channels, channels_in, 4, 4).transpose(0, 1)
        self.weight = _constant(spread.to(convolution.weight.dtype))
        self.bias = convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        """x: (1, C, h, w). Returns (1, D, 2 h, 2 w)."""
        return F.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=1)


class Winograd(nn.Module):
    """A 3 x 3 convolution in tiles of 4 x 4: 36 products a tile and channel pair instead of 144."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = _constant(transformed(convolution.weight.float()))  # (36, C, D)
        self.bias = convolution.bias
        self.padding = cast(int, convolution.padding[0])
        self.dilation = convolution.dilation[0]
        into_tile, out_of_tile, _ = matrices()
        self.into_tile = _constant(into_tile.float())  # (36, 36)
        self.out_of_tile = _constant(out_of_tile.float())  # (16, 36)

    def forward(self, x: Tensor) -> Tensor:
        """x: (1, C, h, w) float32. Returns (1, D, h', w'), channels last in memory."""
        channels, height, width = x.shape[1:]
        step, pad = self.dilation, self.padding
        out_height, out_width = height + 2 * (pad - step), width + 2 * (pad - step)
        rows, columns = -(-out_height // (4 * step)), -(-out_width // (4 * step))
        padded = x.new_zeros(step * (4 * rows + 2), step * (4 * columns + 2), channels)
        padded[pad : pad + height, pad : pad + width] = x[0].permute(1, 2, 0)
        out = x.new_empty(rows, 4, step, columns, 4, step, self.weight.shape[2])
        count = max(1, _TILES // (columns * step * step))
        for first in range(0, rows, count):
            part = out[first : first + count]
            part.copy_(self._tiles(padded, first, part.shape[0], columns))
        out = out.view(rows * 4 * step, columns * 4 * step, -1)
        return out[:out_height, :out_width].permute(2, 0, 1)[None]

    def _tiles(self, padded: Tensor, first: int, rows: int, columns: int) -> Tensor:
        """Tile rows from the first on. Returns (rows, 4, step, columns, 4, step, D)."""
        step, channels = self.dilation, padded.shape[2]
        down, right = padded.stride()[:2]
        taps = padded.as_strided(  # of each phase of a dilated convolution
            (6, 6, step, step, rows, columns, channels),
            (step * down, step * right, down, right, 4 * step * down, 4 * step * right, 1),
            padded.storage_offset() + first * 4 * step * down,
        )
        inputs = self.into_tile @ taps.reshape(36, -1)  # (36, tiles * C)
        tiles = step * step * rows * columns
        products = torch.bmm(inputs.view(36, tiles, channels), self.weight)  # (36, tiles, D)
        outputs = self.out_of_tile @ products.view(36, -1)  # (16, tiles * D)
        outputs = outputs.view(4, 4, step, step, rows, columns, -1).permute(4, 0, 2, 5, 1, 3, 6)
        return outputs if self.bias is None else outputs + self.bias


def _replaced(network: N, replacement: Callable[[nn.Module], nn.Module | None]) -> N:
    """A deep copy; modules for which replacement answers are exchanged, innermost last."""
    made = copy.deepcopy(network)
    for parent in list(made.modules()):
        for name, child in list(parent.named_children()):
            other = replacement(child)
            if other is not None:
                setattr(parent, name, other)
    return made


def _folded(module: nn.Module) -> nn.Module | None:
    if not isinstance(module, nn.Sequential) or len(module) != 2:
        return None
    doubling, convolution = module
    if isinstance(doubling, nn.Upsample) and isinstance(convolution, nn.Conv2d):
        return FoldedUpsampling(convolution)
    return None


def _winograd(module: nn.Module) -> nn.Module | None:
    if not isinstance(module, nn.Conv2d) or module.kernel_size != (3, 3):
        return None
    narrow = min(module.in_channels, module.out_channels) < _LEAST_CHANNELS
    return None if narrow or module.stride != (1, 1) else Winograd(module)


def _constant(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.contiguous(), requires_grad=False)
