"""VGG19 features: the four levels that the correspondence network reads, of gray or color pictures.

Caffe-style weights: the input is BGR, 0..255, with the training set's mean taken off.
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.color import WHITE_D65
from models.deep_exemplar.layout import blocks_pay, laid, plain

_BLOCKS = ((3, 64, 2), (64, 128, 2), (128, 256, 4), (256, 512, 4), (512, 512, 4))
_MEAN_BGR = (0.40760392, 0.45795686, 0.48501961)
_XYZ_TO_RGB = (
    (3.24048134, -0.96925495, 0.05564664),
    (-1.53715152, 1.87599, -0.20404134),
    (-0.49853633, 0.04155593, 1.05731107),
)
_EPSILON = sys.float_info.epsilon  # in float32 it only keeps 0 / 0 from being NaN

Features = tuple[Tensor, Tensor, Tensor, Tensor]


class Vgg19(nn.Module):
    """The sixteen convolutions of VGG19; the two that nobody reads are held but never computed."""

    blocked = False  # whether float32 pictures stay in oneDNN's layout, see layout.py

    def __init__(self) -> None:
        super().__init__()
        for block, (channels_in, channels, layers) in enumerate(_BLOCKS, 1):
            for layer in range(1, layers + 1):
                convolution = nn.Conv2d(channels_in, channels, 3, padding=1)
                self.add_module(f"conv{block}_{layer}", convolution)
                channels_in = channels

    def forward(self, rgb: Tensor) -> Features:
        """Return r22, r32, r42, r52: each after its ReLU and before the pool.

        rgb: (1, 3, h, w), 0..1.
        Returns (1, 128, h/2, w/2), (1, 256, h/4, w/4), (1, 512, h/8, w/8), (1, 512, h/16, w/16);
        odd sizes are floored.
        """
        mean = rgb.new_tensor(_MEAN_BGR).view(1, 3, 1, 1)
        blocked = self.blocked and blocks_pay(rgb)
        x = laid((rgb.flip(1) - mean) * 255, blocked=blocked)
        x = self._block(x, 1, (1, 2))
        r22 = self._block(F.max_pool2d(x, 2), 2, (1, 2))
        r32 = self._block(F.max_pool2d(r22, 2), 3, (1, 2))
        x = self._block(r32, 3, (3, 4))
        r42 = self._block(F.max_pool2d(x, 2), 4, (1, 2))
        x = self._block(r42, 4, (3, 4))
        r52 = self._block(F.max_pool2d(x, 2), 5, (1, 2))
        return plain(r22), plain(r32), plain(r42), plain(r52)

    def _block(self, x: Tensor, block: int, layers: tuple[int, ...]) -> Tensor:
        for layer in layers:
            x = F.relu_(self.get_submodule(f"conv{block}_{layer}")(x))
        return x


def gray_input(luma: Tensor) -> Tensor:
    """luma: (1, 1, h, w), L - 50. Returns (1, 3, h, w): L / 100 itself, with no gamma undone."""
    return ((luma + 50) / 100).expand(-1, 3, -1, -1)


def color_input(lab: Tensor) -> Tensor:
    """lab: (1, 3, h, w), L - 50, a, b. Returns (1, 3, h, w) sRGB in 0..1, as training saw it.

    Not models.color.lab_to_rgb: blue is held at z >= 0, the inverse matrix is rounded to eight
    digits and the result is clipped, and a nearest match may hang on that.
    """
    luma, a, b = lab.unbind(1)
    fy = (luma + 50 + 16) / 116
    f = torch.stack((a / 500 + fy, fy, (fy - b / 200).clamp(min=0)), 1)
    xyz = torch.where(f > 0.2068966, f**3, (f - 16 / 116) / 7.787)
    xyz = xyz * lab.new_tensor(WHITE_D65).view(1, 3, 1, 1)
    linear = torch.einsum("bihw,ij->bjhw", xyz, lab.new_tensor(_XYZ_TO_RGB))
    curve = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curve, 12.92 * linear).clamp(0, 1)


def normalized(features: Tensor) -> Tensor:
    """features: (1, C, h, w). Returns them with every pixel's channel vector of unit length."""
    unit: Tensor = features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + _EPSILON)
    return unit
