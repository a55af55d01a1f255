"""Blocks that the value encoder and the decoder share: residual block, gates, fuser, cell."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.derived import Derived
from models.winograd import Convolution3


class ResidualBlock(nn.Module):
    """conv3(ReLU(conv3(ReLU(x)))) + shortcut, without norms; the shortcut is a conv3 or x."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = Convolution3(channels, width)
        self.conv2 = Convolution3(width, width)
        self.downsample = shortcut(channels, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, channels, H, W). Returns (B, width, H, W)."""
        out: Tensor = self.conv2(self.conv1(x, rectify=True), rectify=True)
        return out.add_(self.downsample(x))


def shortcut(channels: int, width: int) -> nn.Module:
    """A 3x3 convolution where widths differ, else nothing."""
    return Convolution3(channels, width) if channels != width else nn.Identity()


class ChannelGate(nn.Module):
    """Scales channels by what they hold on average and at most over all pixels."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        narrow = width // reduction
        self.mlp = nn.Sequential(
            nn.Flatten(), nn.Linear(width, narrow), nn.ReLU(), nn.Linear(narrow, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W). Returns the same shape."""
        gate = torch.sigmoid(self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3))))
        return x * gate[:, :, None, None]


class SpatialConvolution(nn.Module):
    """Holds the 7x7 convolution under its published name."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)


class SpatialGate(nn.Module):
    """Scales pixels by their greatest and mean channel."""

    def __init__(self) -> None:
        super().__init__()
        self.spatial = SpatialConvolution()

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W). Returns the same shape."""
        summary = torch.cat((x.amax(1, keepdim=True), x.mean(1, keepdim=True)), 1)
        return x * torch.sigmoid(self.spatial.conv(summary))


class Gates(nn.Module):
    """Channel gate, then pixel gate."""

    def __init__(self, width: int, reduction: int) -> None:
        super().__init__()
        self.ChannelGate = ChannelGate(width, reduction)
        self.SpatialGate = SpatialGate()

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W). Returns the same shape."""
        out: Tensor = self.SpatialGate(self.ChannelGate(x))
        return out


class Fuser(nn.Module):
    """Joins a frame's features with those of the planes a and b, which share the weights."""

    def __init__(self, image: int, planes: int, width: int, reduction: int) -> None:
        super().__init__()
        self.image = image
        self.block1 = ResidualBlock(image + planes, width)
        self.attention = Gates(width, reduction)
        self.block2 = ResidualBlock(width, width)
        self._derived = Derived()

    def forward(self, f16: Tensor, planes: Tensor) -> Tensor:
        """f16: (1, image, h, w), not negative. planes: (2, planes, h, w). Returns (2, width, h, w).

        What block1 makes of f16 is the same for both planes and convolved once. f16 comes out of a
        ReLU, so that block1's own ReLU leaves it as it is and both of its convolutions share it.
        """
        conv1, downsample = self._convolutions
        of_conv1, of_downsample = self._of_image(f16).chunk(2, 1)
        inner = self._of_planes(conv1, F.relu(planes)) + of_conv1
        short = self._of_planes(downsample, planes) + of_downsample
        joined = self.block1.conv2(inner, rectify=True) + short
        out: Tensor = self.block2(joined + self.attention(joined))
        return out

    def _of_image(self, f16: Tensor) -> Tensor:
        """(1, image, h, w) -> (1, 2 width, h, w), biases included."""
        convs = self._convolutions
        weights = tuple(c.weight for c in convs)
        joined = self._derived.get(
            "image", weights, lambda: _last(torch.cat([w[:, : self.image] for w in weights]))
        )
        biases = [c.bias for c in convs if c.bias is not None]
        return F.conv2d(f16, joined, torch.cat(biases), padding=1)

    def _of_planes(self, conv: nn.Conv2d, planes: Tensor) -> Tensor:
        """(2, planes, h, w) -> (2, width, h, w), without bias."""
        weight = conv.weight
        part = self._derived.get(id(conv), (weight,), lambda: _last(weight[:, self.image :]))
        return F.conv2d(planes, part, padding=1)

    @property
    def _convolutions(self) -> tuple[nn.Conv2d, nn.Conv2d]:
        """Those of block1 that see the frame's features."""
        block = self.block1
        if not isinstance(block.downsample, nn.Conv2d):
            raise TypeError("block1: expected a convolution as its shortcut")
        return block.conv1, block.downsample


def _last(weight: Tensor) -> Tensor:
    return weight.detach().contiguous(memory_format=torch.channels_last)


class Cell(nn.Module):
    """Holds the convolution of one recurrent cell under its published name."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.transform = nn.Conv2d(channels + hidden, 3 * hidden, 3, padding=1)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """See renew."""
        return renew(self.transform, x, state)


def renew(transform: nn.Conv2d, x: Tensor, state: Tensor) -> Tensor:
    """One step of the recurrent cell; unlike a GRU's, its candidate does not see a gated state.

    x: (2, channels, h, w). state: (2, hidden, h, w) float32. Returns the new state, float32.
    """
    joined = torch.cat((x, state.to(x.dtype)), 1)
    forget, update, new = transform(joined).float().chunk(3, 1)
    forget, update = torch.sigmoid(forget), torch.sigmoid(update)
    return forget * state * (1.0 - update) + update * torch.tanh(new)
