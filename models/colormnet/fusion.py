"""Fusion of transformer and ResNet features by attention between channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.derived import Derived

from .config import NetworkConfig
from .enlarged import conv3_of_enlarged

_STRIP_PIXELS = 1024


class Fusion(nn.Module):
    """One scale: queries come from the transformer, keys and values from the ResNet."""

    def __init__(self, config: NetworkConfig, width: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.encode_enc = nn.Conv2d(config.tokens * config.token_taps, width, 3, padding=1)
        self.norm1 = ChannelNorm(width)
        self.norm2 = ChannelNorm(width)
        self.norm3 = ChannelNorm(width)
        self.crossattn = ChannelAttention(width, config.fusion_heads)
        self._derived = Derived(limit=12)

    def forward(self, tokens: Tensor, feature: Tensor) -> Tensor:
        """tokens: (B, 1536, h, w). feature: (B, C, factor h, factor w). Returns feature's shape."""
        encoded = self.encode(tokens)
        mixed = self.crossattn(self.norm1(encoded), self.norm2(feature))
        return F.relu(self.norm3(mixed + encoded))

    def encode(self, tokens: Tensor) -> Tensor:
        """A 3x3 convolution of the tokens enlarged to this scale: (B, C, factor h, factor w)."""
        conv = self.encode_enc
        if self.factor == 1 or conv.bias is None:
            plain: Tensor = conv(tokens)
            return plain
        return conv3_of_enlarged(tokens, conv.weight, conv.bias, self.factor, self._derived)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel, biased variance, eps 1e-6."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W). Returns the same shape, channels last in memory."""
        pixels = x.permute(0, 2, 3, 1)
        if pixels.dtype == torch.float32:
            # The native kernel loses digits where a pixel's channels are nearly equal.
            pixels = pixels - pixels.mean(-1, keepdim=True)
        normed = F.layer_norm(pixels, (x.shape[1],), self.weight, self.bias, 1e-6)
        return normed.permute(0, 3, 1, 2)


class ChannelAttention(nn.Module):
    """Attention whose tokens are channels, normalized over all pixels: cost linear in pixels."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        inner = 2 * width
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.to_q = nn.Conv2d(width, inner, 1)
        self.to_k = nn.Conv2d(width, inner, 1)
        self.to_v = nn.Conv2d(width, inner, 1)
        self.to_q_dw = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.to_k_dw = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.to_v_dw = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.to_out = nn.Sequential(nn.Conv2d(inner, width, 1))

    def forward(self, query: Tensor, feature: Tensor) -> Tensor:
        """query, feature: (B, C, H, W). Returns (B, C, H, W).

        softmax(temperature q k^T) v with q and k of unit length over pixels. The attention matrix
        is folded into the output convolution, so that v is read once.
        """
        batch, width, height, columns = query.shape
        q = self._pixels(self.to_q_dw(self.to_q(query)))  # (B, n, 2C)
        k = self._pixels(self.to_k_dw(self.to_k(feature)))
        v = self._pixels(self.to_v_dw(self.to_v(feature)))
        weights = self._weights(q, k)  # (B, heads, c, c)
        out = self.to_out[0]
        if not isinstance(out, nn.Conv2d) or out.bias is None:
            raise TypeError("to_out: expected a convolution with a bias")
        split = out.weight.view(width, self.heads, -1).transpose(0, 1).float()  # (heads, C, c)
        folded = torch.matmul(split, weights).transpose(1, 2)  # (B, C, heads, c)
        folded = folded.reshape(batch, width, -1).to(v.dtype)
        mixed = torch.matmul(v, folded.transpose(1, 2)) + out.bias  # (B, n, C)
        return mixed.view(batch, height, columns, width).permute(0, 3, 1, 2)

    def _weights(self, q: Tensor, k: Tensor) -> Tensor:
        """q, k: (B, n, 2C). Returns softmax over k's channels, (B, heads, c, c) float32.

        Summed up strip by strip on a CPU, where the float32 copies then stay in its caches.
        """
        batch, pixels, inner = q.shape
        shape = (batch, -1, self.heads, inner // self.heads)
        product = torch.zeros(batch, self.heads, shape[3], shape[3], device=q.device)
        squares = torch.zeros(2, batch, inner, device=q.device)
        rows = _STRIP_PIXELS if q.device.type == "cpu" else pixels
        for part_q, part_k in zip(torch.split(q, rows, 1), torch.split(k, rows, 1), strict=True):
            qs, ks = part_q.float(), part_k.float()
            squares[0] += qs.square().sum(1)
            squares[1] += ks.square().sum(1)
            product += qs.view(shape).permute(0, 2, 3, 1) @ ks.view(shape).transpose(1, 2)
        lengths_q, lengths_k = squares.sqrt().clamp(min=1e-12)
        cosine = product / lengths_q.view(batch, self.heads, -1, 1)
        cosine = cosine / lengths_k.view(batch, self.heads, 1, -1)
        return torch.softmax(cosine * self.temperature.float(), -1)

    @staticmethod
    def _pixels(x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H W, C)."""
        return x.permute(0, 2, 3, 1).flatten(1, 2)
