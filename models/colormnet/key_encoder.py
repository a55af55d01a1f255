"""From a frame's luma to fused features, and from those to the key that memory is asked with."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accel.attention import Attention

from .config import NetworkConfig
from .fusion import Fusion
from .residual import bottleneck_stage
from .transformer import TokenBranch


class Features(NamedTuple):
    """Fused features of B frames: f16 (B, 1024, h, w), f8 (B, 512, 2h, 2w), f4 (B, 256, 4h, 4w)."""

    f16: Tensor
    f8: Tensor
    f4: Tensor


class Key(NamedTuple):
    """What memory is asked with, float32: key (B, 64, h, w), shrinkage (B, 1, h, w) of at least 1,
    selection (B, 64, h, w) in 0..1."""

    key: Tensor
    shrinkage: Tensor
    selection: Tensor


class KeyEncoder(nn.Module):
    """ResNet-50 to stride 16 beside DINOv2, fused at three scales."""

    def __init__(self, config: NetworkConfig, attention: Attention) -> None:
        super().__init__()
        width, blocks = config.trunk, config.trunk_blocks
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.res2 = bottleneck_stage(width, width, blocks[0], 1)
        self.layer2 = bottleneck_stage(4 * width, 2 * width, blocks[1], 2)
        self.layer3 = bottleneck_stage(8 * width, 4 * width, blocks[2], 2)
        self.network2 = TokenBranch(config, attention)
        self.fuse1 = Fusion(config, 16 * width, 1)
        self.fuse2 = Fusion(config, 8 * width, 2)
        self.fuse3 = Fusion(config, 4 * width, 4)

    def forward(self, luma: Tensor) -> Features:
        """luma: (B, 1, H, W), (L - 50) / 50, sides multiples of 112."""
        image = luma.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        tokens = self.network2(image)
        image = image.to(self.conv1.weight.dtype)
        r4 = self.res2(F.max_pool2d(F.relu(self.bn1(self.conv1(image))), 3, 2, 1))
        r8 = self.layer2(r4)
        r16 = self.layer3(r8)
        return Features(self.fuse1(tokens, r16), self.fuse2(tokens, r8), self.fuse3(tokens, r4))


class KeyProjection(nn.Module):
    """f16 -> key, shrinkage, selection."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = 16 * config.trunk
        self.key_proj = nn.Conv2d(width, config.key, 3, padding=1)
        self.d_proj = nn.Conv2d(width, 1, 3, padding=1)
        self.e_proj = nn.Conv2d(width, config.key, 3, padding=1)

    def forward(self, f16: Tensor) -> Key:
        """f16: (B, 1024, h, w), any dtype; the result is float32."""
        shrinkage = self.d_proj(f16).float() ** 2 + 1.0
        selection = torch.sigmoid(self.e_proj(f16).float())
        return Key(self.key_proj(f16).float(), shrinkage, selection)
