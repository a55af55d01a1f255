"""WarpNet: turns VGG features of a picture into unit vectors whose products say what matches what.

The matching itself is matching.py's. Every convolution in front of an instance norm keeps its bias
for the checkpoint's sake; the norm cancels it.
"""

from __future__ import annotations

import sys
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.deep_exemplar.norm import InstanceNorm, instance_norm
from models.deep_exemplar.vgg import Features, normalized

_EPSILON = sys.float_info.epsilon


class WarpNet(nn.Module):
    """Four branches, a trunk of three residual blocks and one projection for each side."""

    def __init__(self) -> None:
        super().__init__()
        self.layer2_1 = nn.Sequential(*_unit(128, 128), *_unit(128, 64, stride=2))
        self.layer3_1 = nn.Sequential(*_unit(256, 128), *_unit(128, 64))
        self.layer4_1 = nn.Sequential(*_unit(512, 256), *_unit(256, 64), nn.Upsample(None, 2))
        self.layer5_1 = nn.Sequential(
            *_unit(512, 256), nn.Upsample(None, 2), *_unit(256, 64), nn.Upsample(None, 2)
        )
        self.layer = nn.Sequential(*(Residual(256) for _ in range(3)))
        self.theta = nn.Conv2d(256, 256, 1)
        self.phi = nn.Conv2d(256, 256, 1)

    def of_frame(self, features: Features) -> Tensor:
        """features: of the frame to color, h x w. Returns (n, 256) unit vectors, n = (h/4)(w/4)."""
        return unit_positions(self.theta(self.trunk(features))).T.contiguous()

    def of_exemplar(self, features: Features, keep: Tensor | None = None) -> Tensor:
        """features: of an exemplar. Returns (256, n) unit vectors, columns in row-major order.

        keep: (n,) bool, the positions that may be matched; the others do not move the mean.
        """
        return unit_positions(self.phi(self.trunk(features)), keep).contiguous()

    def trunk(self, features: Features) -> Tensor:
        """features: r22, r32, r42, r52. Returns (1, 256, h/4, w/4)."""
        r22, r32, r42, r52 = (normalized(level) for level in features)
        branch2, branch3 = self.layer2_1(r22), self.layer3_1(r32)
        branch4, branch5 = self.layer4_1(r42), self.layer5_1(r52)
        if branch5.shape[-2:] != branch2.shape[-2:]:  # h = 8 mod 16: two rows short
            branch5 = F.pad(branch5, (0, 0, 1, 1), mode="replicate")
        joined = torch.cat((branch2, branch3, branch4, branch5), 1)
        return cast(Tensor, self.layer(joined))


class Residual(nn.Module):
    """Two convolutions around a shortcut; one PReLU serves both places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x: (1, C, h, w). Returns the same shape."""
        y = self.prelu(instance_norm(self.conv1(_reflect(x))))
        y = instance_norm(self.conv2(_reflect(y)))
        return cast(Tensor, self.prelu(y.add_(x)))


def unit_positions(x: Tensor, keep: Tensor | None = None) -> Tensor:
    """Center every channel over positions, then give every position unit length.

    x: (1, C, h, w). Returns (C, h * w) float32.
    keep: (h * w,) bool; the mean is that of the kept positions.
    """
    x = x.flatten(2)[0].float()
    mean = x.mean(-1, keepdim=True) if keep is None else x[:, keep].mean(-1, keepdim=True)
    x = x - mean
    unit: Tensor = x / (torch.linalg.vector_norm(x, dim=0, keepdim=True) + _EPSILON)
    return unit


def _unit(channels_in: int, channels: int, *, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.ReflectionPad2d(1),
        nn.Conv2d(channels_in, channels, 3, stride=stride),
        InstanceNorm(),
        nn.PReLU(),
    )


def _reflect(x: Tensor) -> Tensor:
    return F.pad(x, (1, 1, 1, 1), mode="reflect")
