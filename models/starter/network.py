"""The starter network: match luma against the exemplars, bring back their chroma.

Everything runs at 1/4 size or coarser; only the last step, a convex upsampling, makes full size.
Chroma inside the network is CIE ab / 50. Sizes given must be multiples of the config's stride.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.starter.blocks import ConvNorm, ResBlock
from models.starter.config import StarterConfig
from models.starter.matching import (
    Memory,
    group_quarters,
    read_fine,
    read_global,
    unfold_windows,
    ungroup_quarters,
)

CHROMA_SCALE = 50.0
_STRIP_ROWS = 8
STATISTICS = 8  # of the values: a, b, a * a, b * b, L, L * L, one, and a spare


@dataclass(frozen=True)
class Features:
    """Of a luma picture. stem: (B, 32, H/4, W/4); fine, coarse: at 1/4 and 1/8.

    key_8: (B, N, 64), key_4: (B, 16, H/4, W/4), both of unit length.
    """

    stem: Tensor
    fine: Tensor
    coarse: Tensor
    key_8: Tensor
    key_4: Tensor


@dataclass(frozen=True)
class Prediction:
    """chroma: (B, 2, H, W), ab / 50. The rest at 1/8 or 1/4, for losses and confidence.

    matched: (B, 2, H/8, W/8) mean of the matched colors; variance: (B, 1, H/8, W/8) of them.
    fine: (B, 2, H/4, W/4). quarter: (B, 2, H/4, W/4), chroma before upsampling.
    similarity: (B, 1, H/8, W/8), cosine of the best match.
    """

    chroma: Tensor
    matched: Tensor
    variance: Tensor
    fine: Tensor
    quarter: Tensor
    similarity: Tensor


class Starter(nn.Module):
    """Encoder, values of exemplars, decoder. `temperature` methods scale with token count."""

    def __init__(self, config: StarterConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or StarterConfig()
        self.encoder = Encoder(config)
        self.valuer = Valuer(config)
        self.decoder = Decoder(config)
        self.log_temperature_8 = nn.Parameter(torch.tensor(20.0).log())
        self.log_temperature_4 = nn.Parameter(torch.tensor(12.0).log())

    def encode(self, luma: Tensor) -> Features:
        """luma: (B, 1, H, W), CIE L in [0, 100]."""
        plain = luma.flatten().view(luma.shape)  # a plane cut out of Lab would be compiled anew
        features: Features = self.encoder(plain)
        return features

    def memorize(self, features: Features, luma: Tensor, chroma: Tensor) -> Memory:
        """What one exemplar offers. luma: (B, 1, H, W), CIE L; chroma: (B, 2, H, W), ab / 50."""
        values = self.valuer(features.stem, luma, chroma)
        quarter = F.avg_pool2d(chroma, 4)
        colors = torch.cat((quarter, quarter * quarter), 1)
        windows = unfold_windows(torch.cat((features.key_4, colors.to(features.key_4.dtype)), 1))
        return Memory(features.key_8, values, windows)

    def read(
        self,
        luma: Tensor,
        features: Features,
        memory: Memory,
        *,
        sharpen: float = 1.0,
        sharpen_fine: float = 1.0,
        best: Tensor | None = None,
    ) -> Prediction:
        """Color a query from the memory.

        sharpen multiplies the temperature of the global read, which must grow with the number of
        tokens; sharpen_fine that of the fine read. best: (B, N) token indices for the fine read,
        instead of those of the global read (training only).
        """
        height, width = features.coarse.shape[-2:]
        found = read_global(
            features.key_8, memory, self.log_temperature_8.exp().to(features.key_8.dtype) * sharpen
        )
        fine = read_fine(
            group_quarters(features.key_4),
            found.best if best is None else best,
            memory,
            self.log_temperature_4.exp() * sharpen_fine,
        )
        values = found.values.transpose(1, 2).reshape(len(luma), -1, height, width)
        similarity = found.similarity.transpose(1, 2).reshape(len(luma), -1, height, width)
        prediction: Prediction = self.decoder(
            luma, features, values, similarity, ungroup_quarters(fine, height, width)
        )
        return prediction


class Encoder(nn.Module):
    """Luma to features and keys: down to 1/32, then back up to 1/4."""

    def __init__(self, config: StarterConfig) -> None:
        super().__init__()
        c4, c8, c16, c32 = (
            config.channels_4,
            config.channels_8,
            config.channels_16,
            config.channels_32,
        )
        self.down_4 = nn.Sequential(ConvNorm(32, c4), ResBlock(c4))
        self.down_8 = nn.Sequential(ConvNorm(c4, c8, stride=2), ResBlock(c8), ResBlock(c8))
        self.down_16 = nn.Sequential(ConvNorm(c8, c16, stride=2), ResBlock(c16))
        self.down_32 = nn.Sequential(ConvNorm(c16, c32, stride=2), ResBlock(c32))
        self.up_16 = ConvNorm(c32, c16, size=1, relu=False)
        self.up_8 = ConvNorm(c16, c8, size=1, relu=False)
        self.mix_8 = ResBlock(c8)
        self.up_4 = ConvNorm(c8, c4, size=1, relu=False)
        self.mix_4 = ConvNorm(c4, c4)
        self.key_8 = nn.Conv2d(c8, config.key_8, 1)
        self.key_4 = nn.Conv2d(c4, config.key_4, 1)

    def forward(self, luma: Tensor) -> Features:
        stem = luma_stem(luma).to(self.key_8.weight.dtype)
        x4 = self.down_4(stem)
        x8 = self.down_8(x4)
        x16 = self.down_16(x8)
        x16 = F.relu(x16 + _double(self.up_16(self.down_32(x16))))
        x8 = self.mix_8(F.relu(x8 + _double(self.up_8(x16))))
        x4 = self.mix_4(F.relu(x4 + _double(self.up_4(x8))))
        key_8 = _unit(self.key_8(x8)).flatten(2).transpose(1, 2).contiguous()
        return Features(stem, x4, x8, key_8, _unit(self.key_4(x4)))


class Valuer(nn.Module):
    """Values of an exemplar at 1/8: statistics of its colors, then learned channels."""

    def __init__(self, config: StarterConfig) -> None:
        super().__init__()
        self.first = ConvNorm(32 + 32, 48, stride=2)
        self.second = nn.Conv2d(48, config.value_learned, 3, padding=1)

    def forward(self, stem: Tensor, luma: Tensor, chroma: Tensor) -> Tensor:
        """Returns (B, M, 8 + learned)."""
        detail = F.pixel_unshuffle(chroma, 4).to(stem.dtype)
        learned = self.second(self.first(torch.cat((stem, detail), 1)))
        mean = F.avg_pool2d(chroma, 8)
        light = F.avg_pool2d(luma, 8) / 50 - 1
        one = torch.ones_like(light)
        known = (mean, F.avg_pool2d(chroma * chroma, 8), light, light * light, one, one * 0)
        statistics = torch.cat(known, 1).to(stem.dtype)
        return torch.cat((statistics, learned.to(stem.dtype)), 1).flatten(2).transpose(1, 2)


class Decoder(nn.Module):
    """What was read, the query's own features: chroma at 1/4, then at full size."""

    def __init__(self, config: StarterConfig) -> None:
        super().__init__()
        d8, d4 = config.decoder_8, config.decoder_4
        read = STATISTICS + config.value_learned + 1
        self.mix_8 = nn.Sequential(ConvNorm(config.channels_8 + read, d8), ResBlock(d8))
        self.up = ConvNorm(d8, d4, size=1, relu=False)
        self.mix_4 = nn.Sequential(ConvNorm(d4 + config.channels_4 + 9, d4), ResBlock(d4))
        self.gate = nn.Conv2d(d4, 3, 1)
        self.direct = nn.Conv2d(d4, 2, 1)
        self.detail = ConvNorm(d4 + 32, 64)
        self.masks = nn.Conv2d(64, 9 * 16, 1)
        self.residual = nn.Conv2d(64, 2 * 16, 1)
        for head in (self.gate, self.direct, self.masks, self.residual):
            nn.init.normal_(head.weight, std=0.01)
            if head.bias is not None:
                nn.init.zeros_(head.bias)

    def forward(
        self,
        luma: Tensor,
        features: Features,
        values: Tensor,
        similarity: Tensor,
        fine: Tensor,
    ) -> Prediction:
        dtype = features.coarse.dtype
        mean = values[:, :2]
        variance = (values[:, 2:4] - mean * mean).clamp(min=0)
        light = F.avg_pool2d(luma, 8) / 50 - 1
        known = (mean, variance.add(1e-4).sqrt(), values[:, 4:5] - light, values[:, 5:])
        x8 = torch.cat((features.coarse, *(k.to(dtype) for k in known), similarity.to(dtype)), 1)
        x8 = self.mix_8(x8)
        fine_mean = fine[:, :2]
        fine_spread = (fine[:, 2:4] - fine_mean * fine_mean).clamp(min=0).add(1e-4).sqrt()
        spread = variance.sum(1, keepdim=True).add(1e-4).sqrt()
        enlarged = _double(torch.cat((mean, spread, similarity), 1))
        hints = torch.cat(
            (enlarged[:, :3], fine_mean, fine_spread, fine[:, 4:], enlarged[:, 3:]), 1
        ).to(dtype)
        x4 = self.mix_4(torch.cat((_double(self.up(x8)), features.fine, hints), 1))
        gate = F.softmax(self.gate(x4).float(), 1)
        choices = (enlarged[:, :2], fine_mean, self.direct(x4).float())
        quarter = sum((gate[:, i : i + 1] * c for i, c in enumerate(choices)), luma.new_zeros(()))
        x = self.detail(torch.cat((x4, features.stem), 1))
        chroma = convex_upsample(quarter, self.masks(x))
        chroma = chroma + F.pixel_shuffle(self.residual(x).float(), 4)
        variance = variance.sum(1, keepdim=True)
        return Prediction(chroma, mean, variance, fine_mean, quarter, similarity)


def luma_stem(luma: Tensor) -> Tensor:
    """luma: (B, 1, H, W), CIE L. Returns (B, 32, H/4, W/4): lightness and local contrast.

    Contrast is against the mean of about 24 x 24 pixels, so that keys bear changes of exposure.
    """
    around = F.avg_pool2d(luma, 8)
    around = F.avg_pool2d(F.pad(around, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    around = F.interpolate(around, scale_factor=8.0, mode="bilinear", align_corners=False)
    return F.pixel_unshuffle(torch.cat(((luma - 50) / 30, (luma - around) / 12), 1), 4)


def convex_upsample(quarter: Tensor, masks: Tensor) -> Tensor:
    """Each full-size pixel is a convex mix of the 3 x 3 quarter-size ones around it.

    quarter: (B, C, h, w) float32; masks: (B, 144, h, w), logits. Returns (B, C, 4h, 4w) float32.
    As in RAFT (Teed and Deng 2020), section 3.3. Strip by strip, so that the weights, which are
    72 times the size of the chroma, stay near the caches.
    """
    batch, channels, height, width = quarter.shape
    padded = F.pad(quarter, (1, 1, 1, 1), mode="replicate")
    logits = masks.permute(0, 2, 3, 1)
    strips = []
    for first in range(0, height, _STRIP_ROWS):
        part = logits[:, first : first + _STRIP_ROWS]
        rows = part.shape[1]
        weights = part.reshape(batch, 1, rows, width, 9, 16).softmax(4, dtype=torch.float32)
        strip = quarter.new_zeros(batch, channels, rows, width, 16)
        for tap in range(9):
            y, x = divmod(tap, 3)
            near = padded[:, :, first + y : first + y + rows, x : x + width, None]
            strip = strip.addcmul(weights[..., tap, :], near)
        strip = strip.view(batch, channels, rows, width, 4, 4).transpose(3, 4)
        strips.append(strip.reshape(batch, channels, 4 * rows, 4 * width))
    return torch.cat(strips, 2)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.float(), dim=1, eps=1e-4).to(x.dtype)
