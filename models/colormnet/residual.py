"""Stages of torchvision's residual blocks under the names of the published checkpoint."""

from __future__ import annotations

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck


def bottleneck_stage(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    """ResNet-50 blocks: channels -> 4 width, the stride on the first block's 3x3 convolution."""
    return _stage(Bottleneck, channels, width, blocks, stride)


def basic_stage(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    """ResNet-18 blocks: channels -> width, the stride on the first block's first convolution."""
    return _stage(BasicBlock, channels, width, blocks, stride)


def _stage(
    block: type[BasicBlock] | type[Bottleneck], channels: int, width: int, blocks: int, stride: int
) -> nn.Sequential:
    out = width * block.expansion
    shortcut = None
    if stride != 1 or channels != out:
        shortcut = nn.Sequential(
            nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
        )
    first = block(channels, width, stride, shortcut)
    return nn.Sequential(first, *(block(out, width) for _ in range(blocks - 1)))
