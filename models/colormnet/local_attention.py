"""Short-term attention: every pixel reads its 15 x 15 window in the last memory frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accel.correlation import Correlation

from .config import NetworkConfig


class DepthwiseConvolution(nn.Module):
    """Holds the 5x5 depthwise convolution under its published name."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 5, padding=2, groups=width, bias=False)


class LocalAttention(nn.Module):
    """Window attention with a relative term; the correlation itself is a callable from accel."""

    def __init__(self, config: NetworkConfig, correlation: Correlation) -> None:
        super().__init__()
        self.radius = config.window
        self.scale = config.key**-0.5
        self.correlation = correlation
        side = 2 * config.window + 1
        self.relative_emb_k = nn.Conv2d(config.key, side * side, 1)
        self.dw_conv = DepthwiseConvolution(2 * config.value)
        self.projection = nn.Linear(2 * config.value, 2 * config.value)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """query, key: (1, 64, h, w) float32, of this frame and of the last memory frame.

        value: (h w, 1024), of the last memory frame, a before b. Returns (h w, 1024) float32, to be
        added to what was read from memory.
        """
        height, width = query.shape[-2:]
        dtype = self.projection.weight.dtype
        weight = self.relative_emb_k.weight.float()
        bias = None if self.relative_emb_k.bias is None else self.relative_emb_k.bias.float()
        logits = self.correlation(query * self.scale, key, self.radius)
        logits = logits + F.conv2d(query, weight, bias)
        logits = logits.masked_fill(self._outside(height, width, query.device), float("-inf"))
        weights = torch.softmax(logits, 1).to(dtype)  # (1, 225, h, w)
        rows = value.to(dtype).view(height, width, -1)
        mixed = windowed_sum(weights[0], rows, self.radius)  # (h, w, 1024)
        smooth = self.dw_conv.conv(mixed.permute(2, 0, 1)[None])
        out: Tensor = self.projection(smooth[0].permute(1, 2, 0).reshape(height * width, -1))
        return out.float()

    def _outside(self, height: int, width: int, device: torch.device) -> Tensor:
        """True where a window position leaves the map: (1, 225, h, w)."""
        r = self.radius
        shift = torch.arange(-r, r + 1, device=device)
        y = shift[:, None] + torch.arange(height, device=device)  # (15, h)
        x = shift[:, None] + torch.arange(width, device=device)  # (15, w)
        rows, columns = (y < 0) | (y >= height), (x < 0) | (x >= width)
        outside = rows[:, None, :, None] | columns[None, :, None, :]
        return outside.reshape(1, -1, height, width)


def windowed_sum(weights: Tensor, value: Tensor, radius: int) -> Tensor:
    """sum over the window of weights(p, i) value(i + p), one banded product per row of pixels.

    weights: ((2 radius + 1)^2, H, W), row-major from (-radius, -radius). value: (H, W, C).
    Returns (H, W, C). Holds H W (2 radius + 1) (W + 2 radius) weights and never window x channels.
    """
    height, width, channels = value.shape
    side, span = 2 * radius + 1, width + 2 * radius
    band = weights.new_zeros(height, width, side, span)  # pixel column x meets x + dx at x + dx
    diagonal = band.as_strided(
        (side, side, height, width), (span, 1, width * side * span, side * span + 1)
    )
    diagonal.copy_(weights.view(side, side, height, width))
    padded = F.pad(value, (0, 0, radius, radius, radius, radius)).contiguous()
    windows = padded.as_strided(
        (height, side * span, channels), (span * channels, channels, 1)
    )  # row y sees the padded rows y .. y + 2 radius, which lie behind one another
    return torch.bmm(band.view(height, width, side * span), windows)
