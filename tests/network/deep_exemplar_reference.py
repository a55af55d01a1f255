"""A plain reading of Deep Exemplar that recomputes everything: the oracle of tests and benchmark.

Written from the published description with state dicts and functions, apart from models/, so that
the two check each other. Every frame computes the exemplar's side of WarpNet, all of VGG19 and a
dense n x n softmax at temperature 1e-10. It takes the sizes that the official code takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.deep_exemplar.networks import Networks
from models.deep_exemplar.vgg import color_input, gray_input
from models.propagator import Exemplar, Step

Weights = Mapping[str, Tensor]


class ReferencePropagator:
    """One exemplar, frames at network size; what the benchmark steps as the reference."""

    def __init__(self, networks: Networks, *, temperature: float = 1e-10) -> None:
        self._vgg = networks.vgg.state_dict()
        self._warp = networks.warp.state_dict()
        self._color = networks.color.state_dict()
        self._temperature = temperature
        self._lab = self._previous = torch.empty(0)
        self._features: list[Tensor] = []

    def begin(self, exemplars: Sequence[Exemplar]) -> None:
        """Features of the one exemplar; the previous frame is zeros."""
        self._lab = torch.cat((exemplars[0].luma - 50, exemplars[0].chroma), 1)
        self._features = vgg(self._vgg, color_input(self._lab))
        self._previous = torch.zeros_like(self._lab)

    def step(self, luma: Tensor, *, index: int, want_confidence: bool = False) -> Step:
        """See Propagator.step."""
        luma = luma - 50
        features = vgg(self._vgg, gray_input(luma))
        warped, similarity = correspond(
            self._warp, features, self._features, self._lab, self._temperature
        )
        channels = torch.cat((luma, warped[:, 1:], similarity, self._previous), 1)
        chroma = color(self._color, channels)
        self._previous = torch.cat((luma, chroma), 1)
        return Step(chroma, similarity.clamp(0, 1) if want_confidence else None)

    @property
    def nbytes(self) -> int:
        """Bytes held for the shot."""
        return self._previous.nbytes + self._lab.nbytes + sum(f.nbytes for f in self._features)


def vgg(weights: Weights, rgb: Tensor) -> list[Tensor]:
    """rgb: (1, 3, h, w). Returns r22, r32, r42, r52 of all sixteen layers."""
    mean = torch.tensor((0.40760392, 0.45795686, 0.48501961)).view(1, 3, 1, 1)
    x = (rgb[:, [2, 1, 0]] - mean) * 255
    out = []
    for block, layers in enumerate((2, 2, 4, 4, 4), 1):
        for layer in range(1, layers + 1):
            x = F.relu(_conv(weights, f"conv{block}_{layer}", x, padding=1))
            if layer == 2 and block > 1:
                out.append(x)
        x = F.max_pool2d(x, 2)
    return out


def correspond(
    weights: Weights, frame: list[Tensor], exemplar: list[Tensor], lab: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Features of both and the exemplar's lab: warped lab (1, 3, h, w), similarity (1, 1, h, w)."""
    theta = _unit(_conv(weights, "theta", _trunk(weights, frame)))
    phi = _unit(_conv(weights, "phi", _trunk(weights, exemplar)))
    scores = torch.matmul(theta.transpose(1, 2), phi)  # (1, n, n)
    similarity = scores.max(-1, keepdim=True).values.transpose(1, 2)
    pooled = F.avg_pool2d(lab, 4)
    weighted = torch.softmax(scores / temperature, -1) @ pooled.flatten(2).transpose(1, 2)
    height, width = pooled.shape[-2:]
    warped = weighted.transpose(1, 2).reshape(1, 3, height, width)
    return (
        F.interpolate(warped, scale_factor=4, mode="nearest"),
        F.interpolate(similarity.reshape(1, 1, height, width), scale_factor=4, mode="nearest"),
    )


def color(weights: Weights, x: Tensor) -> Tensor:
    """x: the seven channels. Returns ab: (1, 2, h, w)."""

    def run(x: Tensor, *names: str, dilation: int = 1) -> Tensor:
        for name in names:
            x = F.relu(_conv(weights, name, x, padding=dilation, dilation=dilation))
        return x

    def half(x: Tensor, name: str) -> Tensor:
        return F.conv2d(x, weights[f"{name}.weight"], stride=2, groups=x.shape[1])

    def up(x: Tensor, name: str, side: Tensor, short: str) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return F.relu(_conv(weights, name, x, padding=1) + _conv(weights, short, side, padding=1))

    n1 = F.instance_norm(run(x, "conv1_1.0", "conv1_1.2", "conv1_2"))
    n2 = F.instance_norm(run(half(n1, "conv1_2norm_ss"), "conv2_1", "conv2_2"))
    n3 = F.instance_norm(run(half(n2, "conv2_2norm_ss"), "conv3_1", "conv3_2", "conv3_3"))
    x = half(n3, "conv3_3norm_ss")
    for stage, dilation in ((4, 1), (5, 2), (6, 2), (7, 1)):
        names = (f"conv{stage}_1", f"conv{stage}_2", f"conv{stage}_3")
        x = F.instance_norm(run(x, *names, dilation=dilation))
    x = F.instance_norm(run(up(x, "conv8_1.1", n3, "conv3_3_short"), "conv8_2", "conv8_3"))
    x = F.instance_norm(run(up(x, "conv9_1.1", n2, "conv2_2_short"), "conv9_2"))
    x = up(x, "conv10_1.1", n1, "conv1_2_short")
    x = F.leaky_relu(_conv(weights, "conv10_2", x, padding=1), 0.2)
    return 128 * torch.tanh(_conv(weights, "conv10_ab", x))


def _trunk(weights: Weights, features: list[Tensor]) -> Tensor:
    r22, r32, r42, r52 = (
        f / (f.norm(2, 1, keepdim=True) + 2.220446049250313e-16) for f in features
    )

    def unit(x: Tensor, name: str, conv: int, slope: int, stride: int = 1) -> Tensor:
        x = _conv(weights, f"{name}.{conv}", F.pad(x, (1, 1, 1, 1), mode="reflect"), stride=stride)
        return F.prelu(F.instance_norm(x), weights[f"{name}.{slope}.weight"])

    def double(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="nearest")

    branch2 = unit(unit(r22, "layer2_1", 1, 3), "layer2_1", 5, 7, stride=2)
    branch3 = unit(unit(r32, "layer3_1", 1, 3), "layer3_1", 5, 7)
    branch4 = double(unit(unit(r42, "layer4_1", 1, 3), "layer4_1", 5, 7))
    branch5 = double(unit(double(unit(r52, "layer5_1", 1, 3)), "layer5_1", 6, 8))
    if branch5.shape[-2:] != branch2.shape[-2:]:
        branch5 = F.pad(branch5, (0, 0, 1, 1), mode="replicate")
    x = torch.cat((branch2, branch3, branch4, branch5), 1)
    for block in range(3):
        slope = weights[f"layer.{block}.prelu.weight"]
        y = _conv(weights, f"layer.{block}.conv1", F.pad(x, (1, 1, 1, 1), mode="reflect"))
        y = F.prelu(F.instance_norm(y), slope)
        y = _conv(weights, f"layer.{block}.conv2", F.pad(y, (1, 1, 1, 1), mode="reflect"))
        x = F.prelu(x + F.instance_norm(y), slope)
    return x


def _unit(x: Tensor) -> Tensor:
    """x: (1, C, h, w). Returns (1, C, n), centered over positions, unit length over channels."""
    x = x.flatten(2)
    x = x - x.mean(-1, keepdim=True)
    return x / (x.norm(2, 1, keepdim=True) + 2.220446049250313e-16)


def _conv(
    weights: Weights, name: str, x: Tensor, *, padding: int = 0, stride: int = 1, dilation: int = 1
) -> Tensor:
    return F.conv2d(
        x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, padding, dilation
    )
