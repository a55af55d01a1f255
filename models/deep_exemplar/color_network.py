"""ColorVidNet: frame, warped colors, their certainty and the previous frame in, chroma out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.deep_exemplar.layout import blocks_pay, laid, plain
from models.deep_exemplar.norm import instance_norm

Lay = Callable[[Tensor], Tensor]  # puts a picture into the layout that the convolutions want
INPUT_CHANNELS = 7  # L, warped a, warped b, similarity, previous L, previous a, previous b
# In float32 a picture of up to 432 x 768 stays whole: strips save it no time, and with several
# threads the last digits of oneDNN's convolutions depend on the height.
_STRIP_PIXELS = 331_776
_STRIP_PIXELS_ROUNDED = 41_472  # 108 rows of 384
_LEAST_ROWS = 16  # below, the overlap costs more than it saves


class ColorVidNet(nn.Module):
    """An encoder to one eighth of the size, dilated middle stages and a decoder with shortcuts.

    Zero padding throughout; ReLU after every convolution, instance norm after each stage.
    """

    blocked = False  # whether float32 pictures stay in oneDNN's layout, see layout.py

    def __init__(self) -> None:
        super().__init__()
        self.conv1_1 = nn.Sequential(_conv(INPUT_CHANNELS, 32), nn.ReLU(True), _conv(32, 64))
        self.conv1_2 = _conv(64, 64)
        self.conv1_2norm_ss = _subsample(64)
        self.conv2_1 = _conv(64, 128)
        self.conv2_2 = _conv(128, 128)
        self.conv2_2norm_ss = _subsample(128)
        self.conv3_1 = _conv(128, 256)
        self.conv3_2 = _conv(256, 256)
        self.conv3_3 = _conv(256, 256)
        self.conv3_3norm_ss = _subsample(256)
        for stage, channels_in, dilation in ((4, 256, 1), (5, 512, 2), (6, 512, 2), (7, 512, 1)):
            for layer, first in ((1, channels_in), (2, 512), (3, 512)):
                self.add_module(f"conv{stage}_{layer}", _conv(first, 512, dilation))
        self.conv8_1 = nn.Sequential(nn.Upsample(None, 2), _conv(512, 256))
        self.conv3_3_short = _conv(256, 256)
        self.conv8_2 = _conv(256, 256)
        self.conv8_3 = _conv(256, 256)
        self.conv9_1 = nn.Sequential(nn.Upsample(None, 2), _conv(256, 128))
        self.conv2_2_short = _conv(128, 128)
        self.conv9_2 = _conv(128, 128)
        self.conv10_1 = nn.Sequential(nn.Upsample(None, 2), _conv(128, 128))
        self.conv1_2_short = _conv(64, 128)
        self.conv10_2 = _conv(128, 128)
        self.conv10_ab = nn.Conv2d(128, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (1, 7, h, w): L - 50, warped a, b, similarity, previous L - 50, a, b; h, w of 8.

        Returns chroma: (1, 2, h, w), ab in [-128, 128].
        """
        lay = partial(laid, blocked=self.blocked and blocks_pay(x))
        n1 = self._stage(F.relu_(self.conv1_1(lay(x))), "conv1_2")
        n2 = self._stage(lay(self.conv1_2norm_ss(n1)), "conv2_1", "conv2_2")
        n3 = self._stage(lay(self.conv2_2norm_ss(n2)), "conv3_1", "conv3_2", "conv3_3")
        x = self.conv3_3norm_ss(n3)
        for stage in (4, 5, 6, 7):
            x = self._stage(lay(x), *(f"conv{stage}_{layer}" for layer in (1, 2, 3)))
        x = F.relu_(_doubled(self.conv8_1, x, lay).add_(self.conv3_3_short(lay(n3))))
        x = self._stage(x, "conv8_2", "conv8_3")
        x = F.relu_(_doubled(self.conv9_1, x, lay).add_(self.conv2_2_short(lay(n2))))
        x = self._stage(x, "conv9_2")
        return torch.cat([self._last_stage(*strip, lay) for strip in _strips(x, n1)], 2)

    def _last_stage(self, x: Tensor, n1: Tensor, keep: slice, lay: Lay) -> Tensor:
        """x: (1, 128, r/2, w). n1: (1, 64, r, w). Returns the kept rows of ab."""
        x = F.relu_(_doubled(self.conv10_1, x, lay).add_(self.conv1_2_short(lay(n1))))
        x = F.leaky_relu_(plain(self.conv10_2(x)), 0.2)
        return torch.tanh(self.conv10_ab(x[:, :, keep]).float()) * 128

    def _stage(self, x: Tensor, *names: str) -> Tensor:
        for name in names:
            x = F.relu_(self.get_submodule(name)(x))
        return instance_norm(plain(x))


def _doubled(layer: nn.Module, x: Tensor, lay: Lay) -> Tensor:
    """Nearest x2 and a convolution, whether they are two layers or folded into one."""
    if isinstance(layer, nn.Sequential):
        doubling, convolution = layer
        return cast(Tensor, convolution(lay(doubling(x))))
    return lay(layer(x))


def _strips(x: Tensor, n1: Tensor) -> Iterator[tuple[Tensor, Tensor, slice]]:
    """x: (1, C, h/2, w/2). n1: (1, D, h, w). Both cut into strips of rows, two rows overlapping.

    The last stage has no norm over the whole picture, so it can run strip by strip: the same but
    for last digits, and its wide tensors, the largest of the network, stay near the caches.
    """
    height, width = n1.shape[-2:]
    pixels = _STRIP_PIXELS if x.dtype == torch.float32 else _STRIP_PIXELS_ROUNDED
    count = -(-height // max(_LEAST_ROWS, pixels // width))
    rows = -(-height // (2 * count)) * 2  # even, and no short rest
    for first in range(0, height, rows):
        last = min(first + rows, height)
        top, bottom = max(0, first - 2), min(height, last + 2)  # two 3 x 3 convolutions reach 2
        part = n1[:, :, top:bottom]
        yield x[:, :, top // 2 : bottom // 2], part, slice(first - top, last - top)


def _conv(channels_in: int, channels: int, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels, 3, padding=dilation, dilation=dilation)


def _subsample(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 1, stride=2, groups=channels, bias=False)
