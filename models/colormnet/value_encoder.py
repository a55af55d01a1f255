"""From a frame's luma and its planes a and b to the values that memory keeps for them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Cell, Fuser
from .config import NetworkConfig
from .residual import basic_stage


class ValueEncoder(nn.Module):
    """ResNet-18 to stride 16 on luma, this plane and the other plane; then the fuser with f16."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, blocks = config.trunk, config.value_blocks
        self.conv1 = nn.Conv2d(5, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = basic_stage(width, width, blocks[0], 1)
        self.layer2 = basic_stage(width, 2 * width, blocks[1], 2)
        self.layer3 = basic_stage(2 * width, 4 * width, blocks[2], 2)
        self.fuser = Fuser(16 * width, 4 * width, config.value, config.gate)
        self.hidden_reinforce = Cell(config.value, config.hidden)

    def forward(self, luma: Tensor, planes: Tensor, f16: Tensor) -> Tensor:
        """luma: (1, 1, H, W). planes: (1, 2, H, W), ab / 110. f16: (1, 1024, h, w).

        Returns values (2, 512, h, w), the plane a first.
        """
        image = luma.to(f16.dtype).expand(2, 3, -1, -1)
        own = planes.to(f16.dtype).transpose(0, 1)  # (2, 1, H, W)
        x = torch.cat((image, own, own.flip(0)), 1).contiguous(memory_format=torch.channels_last)
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        out: Tensor = self.fuser(f16, self.layer3(self.layer2(self.layer1(x))))
        return out

    def reinforce(self, value: Tensor, hidden: Tensor) -> Tensor:
        """A deep update. value: (2, 512, h, w). hidden: (2, 64, h, w) float32. Returns hidden."""
        out: Tensor = self.hidden_reinforce(value, hidden)
        return out
