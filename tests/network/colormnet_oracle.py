"""ColorMNet read straight from its description, whole, dense and slow, to judge the package by.

Nothing here comes from the package, and nothing is arranged for speed: dense similarities, explicit
loops, one plane after the other, all in the published order. It equals the recorded outputs of the
official network within 1e-5. This is the network; colormnet_oracle_clip.py walks it through a clip.

Widths are those of the weights, so that a small network works as well; the dtype is theirs too, so
that float64 gives the truth behind float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


class Network:
    """The network's parts as functions of the state dict (B, C, H, W everywhere)."""

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        dino_heads: int = 6,
        dino_layers: tuple[int, ...] = (8, 9, 10, 11),
        fuse_heads: int = 8,
    ) -> None:
        self.w = weights
        self.dino_heads, self.dino_layers, self.fuse_heads = dino_heads, dino_layers, fuse_heads

    def conv(self, name: str, x: Tensor, *, stride: int = 1, depthwise: bool = False) -> Tensor:
        weight = self.w[name + ".weight"]
        groups = weight.shape[0] if depthwise else 1
        bias = self.w.get(name + ".bias")
        return F.conv2d(x, weight, bias, stride, weight.shape[-1] // 2, 1, groups)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.w[name + ".weight"], self.w.get(name + ".bias"))

    def batch_norm(self, name: str, x: Tensor) -> Tensor:
        w = self.w
        mean, var = w[name + ".running_mean"], w[name + ".running_var"]
        return F.batch_norm(x, mean, var, w[name + ".weight"], w[name + ".bias"], eps=1e-5)

    def layer_norm(self, name: str, x: Tensor, dim: int) -> Tensor:
        """Biased variance over `dim`, eps 1e-6; the mean goes before the scaling."""
        shape = [1] * x.ndim
        shape[dim] = -1
        x = x - x.mean(dim, keepdim=True)
        x = x / torch.sqrt((x * x).mean(dim, keepdim=True) + 1e-6)
        return x * self.w[name + ".weight"].view(shape) + self.w[name + ".bias"].view(shape)

    def resnet_stage(self, name: str, x: Tensor, *, stride: int) -> Tensor:
        """Basic blocks (two convolutions) or bottlenecks (three; the stride sits on the 3x3)."""
        block = 0
        while f"{name}.{block}.conv1.weight" in self.w:
            at, s = f"{name}.{block}", stride if block == 0 else 1
            last = 3 if f"{at}.conv3.weight" in self.w else 2
            y = x
            for i in range(1, last + 1):
                y = self.conv(f"{at}.conv{i}", y, stride=s if i == last - 1 else 1)
                y = self.batch_norm(f"{at}.bn{i}", y)
                y = y if i == last else F.relu(y)
            if f"{at}.downsample.0.weight" in self.w:
                x = self.batch_norm(
                    f"{at}.downsample.1", self.conv(f"{at}.downsample.0", x, stride=s)
                )
            x = F.relu(x + y)
            block += 1
        return x

    def stem(self, name: str, x: Tensor) -> Tensor:
        x = F.relu(self.batch_norm(f"{name}.bn1", self.conv(f"{name}.conv1", x, stride=2)))
        return F.max_pool2d(x, 3, 2, 1)

    def key_encoder(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """image: (1, 3, Hp, Wp). Returns f16, f8, f4 and d16."""
        x = self.stem("key_encoder", image)
        r4 = self.resnet_stage("key_encoder.res2", x, stride=1)
        r8 = self.resnet_stage("key_encoder.layer2", r4, stride=2)
        r16 = self.resnet_stage("key_encoder.layer3", r8, stride=2)
        d16 = self.dino(image)
        f16 = self.fuse("key_encoder.fuse1", d16, r16)
        f8 = self.fuse("key_encoder.fuse2", enlarge(d16, 2), r8)
        f4 = self.fuse("key_encoder.fuse3", enlarge(d16, 4), r4)
        return f16, f8, f4, d16

    def dino(self, image: Tensor) -> Tensor:
        """(1, 3, Hp, Wp) -> (1, 1536, h, w)."""
        at = "key_encoder.network2"
        b = at + ".backbone"
        patch = self.w[b + ".patch_embed.proj.weight"].shape[-1]
        proj = self.w[b + ".patch_embed.proj.weight"], self.w[b + ".patch_embed.proj.bias"]
        x = F.conv2d(image, *proj, stride=patch)
        gh, gw = x.shape[-2:]
        pos = self.w[b + ".pos_embed"]
        side = math.isqrt(pos.shape[1] - 1)
        grid = pos[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
        scale = ((gh + 0.1) / side, (gw + 0.1) / side)
        grid = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)
        if grid.shape[-2:] != (gh, gw):
            raise ValueError(f"position grid {tuple(grid.shape[-2:])}, expected {(gh, gw)}")
        x = (x + grid).flatten(2).transpose(1, 2)
        x = torch.cat([self.w[b + ".cls_token"] + pos[:, :1], x], 1)
        taken = []
        for i in range(max(self.dino_layers) + 1):
            n = f"{b}.blocks.{i}"
            y = self.self_attention(n + ".attn", self.layer_norm(n + ".norm1", x, -1))
            x = x + y * self.w[n + ".ls1.gamma"]
            y = F.gelu(self.linear(n + ".mlp.fc1", self.layer_norm(n + ".norm2", x, -1)))
            x = x + self.linear(n + ".mlp.fc2", y) * self.w[n + ".ls2.gamma"]
            if i in self.dino_layers:
                y = self.layer_norm(b + ".norm", x, -1)[:, 1:]
                taken.append(y.transpose(1, 2).reshape(1, -1, gh, gw))
        y = F.relu(self.batch_norm(at + ".bn3", self.conv(at + ".conv3", torch.cat(taken, 1))))
        size = (image.shape[-2] // 16, image.shape[-1] // 16)
        return F.interpolate(y, size=size, mode="bilinear", align_corners=False)

    def self_attention(self, name: str, x: Tensor) -> Tensor:
        _, n, c = x.shape
        qkv = self.linear(name + ".qkv", x).reshape(n, 3, self.dino_heads, -1).permute(1, 2, 0, 3)
        q, k, v = qkv  # (heads, tokens, c)
        a = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.linear(name + ".proj", (a @ v).transpose(0, 1).reshape(1, n, c))

    def fuse(self, name: str, dino: Tensor, resnet: Tensor) -> Tensor:
        """Attention between channels: queries from DINO, keys and values from the ResNet."""
        at = name + ".crossattn"
        e = self.conv(name + ".encode_enc", dino)
        e1 = self.layer_norm(name + ".norm1", e, 1)
        t1 = self.layer_norm(name + ".norm2", resnet, 1)
        heads = []
        for part, x in (("q", e1), ("k", t1), ("v", t1)):
            y = self.conv(f"{at}.to_{part}_dw", self.conv(f"{at}.to_{part}", x), depthwise=True)
            heads.append(y.reshape(self.fuse_heads, y.shape[1] // self.fuse_heads, -1))
        q, k, v = heads  # (heads, channels of a head, pixels)
        q = q / q.norm(dim=2, keepdim=True).clamp(min=1e-12)
        k = k / k.norm(dim=2, keepdim=True).clamp(min=1e-12)
        a = (q @ k.transpose(1, 2) * self.w[at + ".temperature"]).softmax(-1)
        out = (a @ v).reshape(1, -1, *e.shape[-2:])
        out = self.conv(at + ".to_out.0", out) + e
        return F.relu(self.layer_norm(name + ".norm3", out, 1))

    def key_projection(self, f16: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f16: (1, 1024, h, w). Returns key (1, 64, h, w), shrinkage (1, 1, h, w), selection."""
        shrinkage = self.conv("key_proj.d_proj", f16) ** 2 + 1
        selection = torch.sigmoid(self.conv("key_proj.e_proj", f16))
        return self.conv("key_proj.key_proj", f16), shrinkage, selection

    def value_encoder(
        self, image: Tensor, f16: Tensor, state: Tensor, planes: Tensor, *, deep: bool
    ) -> tuple[Tensor, Tensor]:
        """image (1, 3, Hp, Wp), planes (2, Hp, Wp), state (2, 64, h, w) -> value (2, 512, h, w)."""
        values = []
        for this, other in ((0, 1), (1, 0)):
            x = torch.cat([image, planes[None, this, None], planes[None, other, None]], 1)
            x = self.stem("value_encoder", x)
            x = self.resnet_stage("value_encoder.layer1", x, stride=1)
            x = self.resnet_stage("value_encoder.layer2", x, stride=2)
            x = self.resnet_stage("value_encoder.layer3", x, stride=2)
            values.append(self.fuser("value_encoder.fuser", f16, x))
        value = torch.cat(values)
        if deep:
            state = self.cell("value_encoder.hidden_reinforce", value, state)
        return value, state

    def local_attention(self, key: Tensor, last_key: Tensor, last_value: Tensor) -> Tensor:
        """key, last_key (1, 64, h, w), last_value (2, 512, h, w) -> (2, 512, h, w)."""
        h, w = key.shape[-2:]
        relative = self.conv("short_term_attn.relative_emb_k", key)
        r = (math.isqrt(relative.shape[1]) - 1) // 2
        value = last_value.reshape(1, -1, h, w)
        offsets = [(dy, dx) for dy in range(-r, r + 1) for dx in range(-r, r + 1)]
        inside = torch.ones(1, 1, h, w, dtype=key.dtype)
        logits = []
        for p, (dy, dx) in enumerate(offsets):
            dot = (key * shifted(last_key, dy, dx)).sum(1) / math.sqrt(key.shape[1])
            outside = 1 - shifted(inside, dy, dx)[:, 0]
            logits.append(dot + relative[:, p] - 1e8 * outside)
        a = torch.stack(logits, 1).softmax(1)
        m = torch.zeros_like(value)
        for p, (dy, dx) in enumerate(offsets):
            m = m + a[:, p : p + 1] * shifted(value, dy, dx)
        m = self.conv("short_term_attn.dw_conv.conv", m, depthwise=True)
        out = self.linear("short_term_attn.projection", m.flatten(2).transpose(1, 2))
        return out.transpose(1, 2).reshape(last_value.shape)

    def fuser(self, name: str, f16: Tensor, x: Tensor) -> Tensor:
        """f16 first, then the plane's own features; CBAM between two residual blocks."""
        y = self.residual(name + ".block1", torch.cat([f16, x], 1))
        gate = name + ".attention.ChannelGate.mlp"
        pooled = [y.mean((2, 3)), y.amax((2, 3))]
        s = [self.linear(gate + ".3", F.relu(self.linear(gate + ".1", v))) for v in pooled]
        r = y * torch.sigmoid(s[0] + s[1])[:, :, None, None]
        s2 = torch.cat([r.amax(1, keepdim=True), r.mean(1, keepdim=True)], 1)
        r = r * torch.sigmoid(self.conv(name + ".attention.SpatialGate.spatial.conv", s2))
        return self.residual(name + ".block2", y + r)

    def residual(self, name: str, x: Tensor) -> Tensor:
        y = self.conv(name + ".conv2", F.relu(self.conv(name + ".conv1", F.relu(x))))
        if name + ".downsample.weight" in self.w:
            x = self.conv(name + ".downsample", x)
        return x + y

    def cell(self, name: str, x: Tensor, state: Tensor) -> Tensor:
        v = self.conv(name + ".transform", torch.cat([x, state], 1))
        f, u, n = v.chunk(3, 1)
        f, u, n = torch.sigmoid(f), torch.sigmoid(u), torch.tanh(n)
        return f * state * (1 - u) + u * n

    def decoder(
        self,
        features: tuple[Tensor, Tensor, Tensor],
        readout: Tensor,
        state: Tensor,
        *,
        update: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """f16, f8, f4; readout (2, 512, h, w). Returns z (2, 4h, 4w), planes (2, Hp, Wp), state."""
        f16, f8, f4 = features
        zs, states = [], []
        for plane in range(2):
            own = state[plane : plane + 1]
            x = torch.cat([readout[plane : plane + 1], own], 1)
            g16 = self.fuser("decoder.fuser", f16, x)
            g8 = self.conv("decoder.up_16_8.skip_conv", f8) + enlarge(g16, 2)
            g8 = self.residual("decoder.up_16_8.out_conv", g8)
            g4 = self.conv("decoder.up_8_4.skip_conv", f4) + enlarge(g8, 2)
            g4 = self.residual("decoder.up_8_4.out_conv", g4)
            z = self.conv("decoder.pred", F.relu(g4))
            if update:
                at = "decoder.hidden_update"
                x = self.conv(at + ".g16_conv", g16)
                x = x + self.conv(at + ".g8_conv", F.avg_pool2d(g8, 2))
                x = x + self.conv(at + ".g4_conv", F.avg_pool2d(torch.cat([g4, z], 1), 4))
                own = self.cell(at, x, own)
            zs.append(z)
            states.append(own)
        z = torch.cat(zs)
        return z[:, 0], torch.tanh(enlarge(z, 4))[:, 0], torch.cat(states)


def enlarge(x: Tensor, times: int) -> Tensor:
    return F.interpolate(x, scale_factor=times, mode="bilinear", align_corners=False)


def shifted(x: Tensor, dy: int, dx: int) -> Tensor:
    """y(i) = x(i + (dy, dx)), zero where that is outside."""
    h, w = x.shape[-2:]
    r = max(abs(dy), abs(dx))
    return F.pad(x, (r, r, r, r))[..., r + dy : r + dy + h, r + dx : r + dx + w]


def padding(size: int) -> tuple[int, int]:
    """To a multiple of 112, the smaller half before."""
    p = -size % 112
    return p // 2, p - p // 2


def pad(x: Tensor) -> Tensor:
    return F.pad(x, (*padding(x.shape[-1]), *padding(x.shape[-2])))


def crop(x: Tensor, size: torch.Size) -> Tensor:
    top, left = padding(size[0])[0], padding(size[1])[0]
    return x[..., top : top + size[0], left : left + size[1]]
