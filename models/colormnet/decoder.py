"""From features and what memory gave to the planes a and b, and to the next hidden state."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.winograd import Convolution3

from .blocks import Fuser, ResidualBlock, renew
from .config import NetworkConfig
from .key_encoder import Features


class Decoder(nn.Module):
    """Both planes run through it as a batch of two; a frame's own features are shared by both."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, trunk = config.decoder, config.trunk
        self.fuser = Fuser(16 * trunk, config.value + config.hidden, config.value, config.gate)
        self.hidden_update = HiddenUpdate(config)
        self.up_16_8 = Enlarge(8 * trunk, config.value, width)
        self.up_8_4 = Enlarge(4 * trunk, width, width)
        self.pred = nn.Conv2d(width, 1, 3, padding=1)

    def forward(
        self, features: Features, readout: Tensor, hidden: Tensor, *, update: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """readout: (2, 512, h, w) and hidden: (2, 64, h, w), float32; features of one frame.

        Returns planes (1, 2, H, W) float32 in -1..1 (ab / 110), the logits behind them
        (2, 1, H/4, W/4), and the hidden state, renewed if update.
        """
        dtype = features.f16.dtype
        objects = torch.cat((readout.to(dtype), hidden.to(dtype)), 1)
        g16 = self.fuser(features.f16, objects.contiguous(memory_format=torch.channels_last))
        g8 = self.up_16_8(features.f8, g16)
        g4 = self.up_8_4(features.f4, g8)
        logits = self.pred(F.relu(g4))  # (2, 1, H/4, W/4)
        if update:
            hidden = self.hidden_update(g16, g8, torch.cat((g4, logits), 1), hidden)
        logits = logits.float()
        large = F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
        return torch.tanh(large).transpose(0, 1), logits, hidden


class Enlarge(nn.Module):
    """Doubles a map's size and adds a skip feature, then a residual block."""

    def __init__(self, skip: int, channels: int, width: int) -> None:
        super().__init__()
        self.skip_conv = Convolution3(skip, channels)
        self.out_conv = ResidualBlock(channels, width)

    def forward(self, skip: Tensor, g: Tensor) -> Tensor:
        """skip: (1, skip, 2h, 2w). g: (2, channels, h, w). Returns (2, width, 2h, 2w)."""
        large = F.interpolate(g, scale_factor=2, mode="bilinear", align_corners=False)
        out: Tensor = self.out_conv(large.add_(self.skip_conv(skip)))
        return out


class HiddenUpdate(nn.Module):
    """The normal update: what the decoder saw at three scales, into the cell."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.decoder
        self.g16_conv = nn.Conv2d(config.value, width, 1)
        self.g8_conv = nn.Conv2d(width, width, 1)
        self.g4_conv = nn.Conv2d(width + 1, width, 1)
        self.transform = nn.Conv2d(width + config.hidden, 3 * config.hidden, 3, padding=1)

    def forward(self, g16: Tensor, g8: Tensor, g4: Tensor, hidden: Tensor) -> Tensor:
        """g16: (2, 512, h, w). g8: (2, 256, 2h, 2w). g4: (2, 257, 4h, 4w), logits last.

        hidden: (2, 64, h, w) float32. Returns the new hidden state.
        """
        x = self.g16_conv(g16) + self.g8_conv(F.avg_pool2d(g8, 2))
        return renew(self.transform, x + self.g4_conv(F.avg_pool2d(g4, 4)), hidden)
