"""DINOv2's ViT-S/14 as the key encoder uses it: the last blocks' tokens as one feature map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accel.attention import Attention
from models.derived import Derived

from .config import PATCH, NetworkConfig

GRID = 37  # positions per side that the transformer was trained with


class TokenBranch(nn.Module):
    """`network2`: transformer, 1x1 convolution, and the way from patches of 14 to cells of 16."""

    def __init__(self, config: NetworkConfig, attention: Attention) -> None:
        super().__init__()
        width = config.tokens * config.token_taps
        self.backbone = Transformer(config, attention)
        self.conv3 = nn.Conv2d(width, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)

    def forward(self, image: Tensor) -> Tensor:
        """image: (B, 3, H, W), (L - 50) / 50. Returns (B, taps * width, H/16, W/16).

        The transformer may compute in a longer format than what follows it.
        """
        features = F.relu(self.bn3(self.conv3(self.backbone(image).to(self.conv3.weight.dtype))))
        size = (image.shape[-2] // 16, image.shape[-1] // 16)
        return F.interpolate(features, size=size, mode="bilinear", align_corners=False)


class Transformer(nn.Module):
    """Stock ViT without registers; every tap is normalized by the final LayerNorm."""

    def __init__(self, config: NetworkConfig, attention: Attention) -> None:
        super().__init__()
        width = config.tokens
        self.taps = config.token_taps
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + GRID * GRID, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))  # in the checkpoint, never used
        self.patch_embed = PatchEmbedding(width)
        self.blocks = nn.ModuleList(
            Block(width, config.token_heads, attention) for _ in range(config.token_blocks)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self._derived = Derived(limit=4)

    def forward(self, image: Tensor) -> Tensor:
        """image: (B, 3, H, W), sides multiples of 14. Returns (B, taps * width, H/14, W/14)."""
        patches = self.patch_embed(image)  # (B, width, H/14, W/14)
        rows, columns = patches.shape[-2:]
        tokens = patches.flatten(2).transpose(1, 2)  # (B, n, width)
        cls = self.cls_token.expand(len(tokens), -1, -1)
        x = torch.cat((cls, tokens), 1) + self.positions(rows, columns)
        taps = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number >= len(self.blocks) - self.taps:
                taps.append(self.norm(x)[:, 1:])
        joined = torch.cat(taps, -1).view(len(image), rows, columns, -1)
        return joined.permute(0, 3, 1, 2)  # channels last in memory

    def positions(self, rows: int, columns: int) -> Tensor:
        """The position table for a grid, (1, 1 + rows * columns, width), made once per size.

        The scale factors carry DINOv2's offset of 0.1 and are used as given: sampling positions
        differ from those of a plain resize to the same size.
        """

        def make() -> Tensor:
            table = self.pos_embed.detach().float()
            grid = table[:, 1:].view(1, GRID, GRID, -1).permute(0, 3, 1, 2)
            scale = ((rows + 0.1) / GRID, (columns + 0.1) / GRID)
            resized = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)
            if resized.shape[-2:] != (rows, columns):
                raise ValueError(
                    f"position grid: expected {(rows, columns)}, got {tuple(resized.shape[-2:])}"
                )
            patch = resized.permute(0, 2, 3, 1).flatten(1, 2)
            return torch.cat((table[:, :1], patch), 1).to(self.pos_embed.dtype)

        return self._derived.get((rows, columns), (self.pos_embed,), make)


class PatchEmbedding(nn.Module):
    """One token per 14 x 14 pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, PATCH)

    def forward(self, image: Tensor) -> Tensor:
        """image: (B, 3, H, W). Returns (B, width, H/14, W/14)."""
        tokens: Tensor = self.proj(image.to(self.proj.weight.dtype))
        return tokens


class Block(nn.Module):
    """Pre-norm attention and MLP, each scaled per channel before it is added.

    The sum over the blocks and the norms stay float32 when the linear layers compute in a shorter
    format: their results are rounded, what they are added to is not.
    """

    def __init__(self, width: int, heads: int, attention: Attention) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = SelfAttention(width, heads, attention)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width)
        self.ls2 = LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, n, width). Returns the same shape."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


class SelfAttention(nn.Module):
    """Multi-head attention; the product itself is a callable from accel."""

    def __init__(self, width: int, heads: int, attention: Attention) -> None:
        super().__init__()
        self.heads = heads
        self.attention = attention
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, n, width). Returns the same shape in the weights' format."""
        parts = self.qkv(x.to(self.qkv.weight.dtype))
        parts = parts.view(*x.shape[:2], 3, self.heads, -1)  # (B, n, 3, heads, dim)
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # each (B, heads, n, dim)
        mixed = self.attention(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = self.proj(mixed)
        return out


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, n, width). Returns the same shape in the weights' format."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x.to(self.fc1.weight.dtype))))
        return out


class LayerScale(nn.Module):
    """A learned factor per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, n, width). Returns the same shape."""
        return x * self.gamma
