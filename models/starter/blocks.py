"""The convolution blocks that the starter network is built of, with their norms foldable."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNorm(nn.Module):
    """3x3 (or 1x1) convolution, batch norm and, unless told, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, *, size: int = 3, stride: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return F.relu(x, inplace=True) if self.relu else x

    def fold(self) -> None:
        """Put the norm into the convolution; the result is the same in inference."""
        norm = self.norm
        if not isinstance(norm, nn.BatchNorm2d):
            return
        if norm.running_var is None or norm.running_mean is None:
            raise ValueError("fold: expected a norm with running statistics, got none")
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        old = self.conv
        size, stride = int(old.kernel_size[0]), int(old.stride[0])
        conv = nn.Conv2d(old.in_channels, old.out_channels, size, stride, size // 2)
        conv.to(old.weight.device)
        if conv.bias is None:
            raise ValueError("fold: expected a convolution with a bias, got none")
        with torch.no_grad():
            conv.weight.copy_(old.weight * scale[:, None, None, None])
            conv.bias.copy_(norm.bias - norm.running_mean * scale)
        self.conv = conv
        self.norm = nn.Identity()


class ResBlock(nn.Module):
    """x + conv(conv(x)), then ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)), inplace=True)


def fold_norms(module: nn.Module) -> None:
    """Fold every norm inside the module, in place, for inference and for export."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, ConvNorm):
                part.fold()
