"""A 3x3 convolution by Winograd's minimal filtering: a quarter of the products, on a CPU.

Of 4 x 4 results each tile of 6 x 6 pixels is transformed, multiplied with transformed weights and
transformed back: 36 products instead of 144 for every pair of channels. With the points 0, +-sqrt
1/2, +-sqrt 2 and infinity rounding stays at twice that of the plain sum (6e-7 against 3e-7 of the
result, root mean square). See Lavin and Gray, "Fast algorithms for convolutional neural networks"
(2016), and for the choice of points Barabasz et al. (2020).
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from models.derived import Derived

OUT, TILE = 4, 6  # results and pixels along a tile's side
POINTS = (0.0, 0.5**0.5, -(0.5**0.5), 2.0**0.5, -(2.0**0.5))
WORKSPACE_BYTES = 64 * 2**20  # of one strip of tiles; few strips, as threads meet after each step


class Convolution3(nn.Conv2d):
    """A 3x3 convolution with padding 1 and a bias that is minimal where that pays.

    Its transformed weights are four times the size of its own and made at the first use.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width, 3, padding=1)
        self._derived = Derived(limit=1)

    def forward(self, x: Tensor, *, rectify: bool = False) -> Tensor:
        """x: (B, channels, H, W). Returns (B, width, H, W); of ReLU(x), if rectify."""
        if not self._pays(x) or self.bias is None:
            return super().forward(torch.relu(x) if rectify else x)
        weight = self._derived.get("minimal", (self.weight,), lambda: transformed(self.weight))
        return minimal_conv3(x, weight, self.bias, rectify=rectify)

    def _pays(self, x: Tensor) -> bool:
        """On a CPU, in float32, where there is more to transform than weights to read."""
        on_cpu = x.device.type == "cpu" and self.weight.dtype == x.dtype == torch.float32
        wide = min(self.in_channels, self.out_channels) >= 64
        return on_cpu and wide and x.shape[0] * x.shape[2] * x.shape[3] >= 4096


def minimal_conv3(x: Tensor, weight: Tensor, bias: Tensor, *, rectify: bool = False) -> Tensor:
    """conv2d(x, ..., bias, padding=1) with weights from transformed(), strip by strip of tiles.

    x: (B, C, H, W). weight: (36, C, O). Returns (B, O, H, W), channels last in memory.
    """
    batch, channels, height, width = x.shape
    out = weight.shape[2]
    down, across = -(-height // OUT), -(-width // OUT)
    row_bytes = 4 * TILE * TILE * across * (2 * channels + out)
    rows = max(1, min(down, WORKSPACE_BYTES // row_bytes))
    into, back = (m.to(x) for m in matrices()[:2])
    pixels = x.permute(0, 2, 3, 1)
    result = x.new_empty(batch, height, width, out)
    span = OUT * across + 2
    strip = x.new_zeros(OUT * rows + 2, span, channels)
    for picture in range(batch):
        for first in range(0, down, rows):
            count = min(rows, down - first)
            _fill(strip, pixels[picture], OUT * first - 1, OUT * count + 2, rectify)
            tiles = strip.as_strided(
                (TILE, TILE, count, across, channels),
                (span * channels, channels, OUT * span * channels, OUT * channels, 1),
            )
            seen = torch.mm(into, tiles.reshape(TILE * TILE, -1))
            products = torch.bmm(seen.view(TILE * TILE, count * across, channels), weight)
            made = torch.mm(back, products.view(TILE * TILE, -1))
            placed = made.view(OUT, OUT, count, across, out).permute(2, 0, 3, 1, 4)
            part = result[picture, OUT * first : OUT * (first + count)]
            whole = placed.reshape(OUT * count, OUT * across, out)
            torch.add(whole[: len(part), :width], bias, out=part)
    return result.permute(0, 3, 1, 2)


def transformed(weight: Tensor) -> Tensor:
    """(O, C, 3, 3) -> (36, C, O)."""
    kernel = matrices()[2].to(weight.device)
    out = torch.einsum("ia,ocab,jb->ijco", kernel, weight.detach().double(), kernel)
    return out.flatten(0, 1).to(weight.dtype).contiguous()


def _fill(strip: Tensor, picture: Tensor, top: int, rows: int, rectify: bool) -> None:
    """Copy the rows top .. top + rows - 1 of a picture, (H, W, C), into a strip; 0 outside."""
    height, width = picture.shape[:2]
    low, high = max(0, top), min(height, top + rows)
    strip[: low - top].zero_()
    strip[high - top : rows].zero_()
    inside = strip[low - top : high - top, 1 : width + 1]
    if rectify:
        torch.clamp_min(picture[low:high], 0.0, out=inside)
    else:
        inside.copy_(picture[low:high])


@cache
def matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Into tiles (36, 36), back from them (16, 36), and of weights (6, 3); float64.

    Row i of the first holds the coefficients of prod_k!=i (x - point_k), scaled to a sum of 1.
    """
    into = torch.zeros(TILE, TILE, dtype=torch.float64)
    back = torch.zeros(OUT, TILE, dtype=torch.float64)
    kernel = torch.zeros(TILE, 3, dtype=torch.float64)
    for i, point in enumerate(POINTS):
        others = [p for p in POINTS if p != point]
        norm = 1.0
        for other in others:
            norm *= point - other
        into[i, : len(others) + 1] = _coefficients(others)
        back[:, i] = torch.tensor([point**power for power in range(OUT)])
        kernel[i] = torch.tensor([point**power / norm for power in range(3)])
    into[-1] = _coefficients(list(POINTS))
    back[-1, -1] = kernel[-1, -1] = 1.0
    scale = into.abs().sum(1, keepdim=True)
    into, kernel = into / scale, kernel * scale
    return torch.kron(into, into), torch.kron(back, back), kernel


def _coefficients(roots: list[float]) -> Tensor:
    """Of prod (x - root), ascending powers."""
    out = torch.ones(1, dtype=torch.float64)
    for root in roots:
        out = torch.cat((out.new_zeros(1), out)) - root * torch.cat((out, out.new_zeros(1)))
    return out
