"""ColorMNet with filled weights: its published order of operations, exact, and fast.

`published` computes every convolution where the published description has it: the enlarged maps at
their full size, features common to both planes once per plane, 3x3 convolutions with all of their
products, in the default memory layout. It is what the other settings' speed is a ratio to.
"""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor

from accel.attention import sdpa
from models.colormnet.blocks import Fuser
from models.colormnet.config import EXACT, FAST, ColorMNetSettings
from models.colormnet.fusion import Fusion
from models.colormnet.network import ColorMNet
from models.colormnet.network import build as build_network
from models.colormnet.propagator import ColorMNetPropagator
from models.winograd import Convolution3

TESTS = Path(__file__).resolve().parents[2] / "tests" / "network"
SIZES = ((432, 768),)


def settings() -> tuple[str, ...]:
    """The published order first: the others' speed and error are measured against it."""
    return ("published", "exact", "fast")


def build(setting: str, device: torch.device) -> ColorMNetPropagator:
    """A shot with the balanced preset, the exemplar as another picture."""
    return ColorMNetPropagator(_network(setting, device), ColorMNetSettings())


@cache
def _network(setting: str, device: torch.device) -> ColorMNet:
    precision = FAST if setting == "fast" else EXACT
    network = build_network(
        _tensors(), source="filled weights", device=device, precision=precision, attention=sdpa
    )
    if setting == "published":
        network.to(memory_format=torch.contiguous_format)
        for module in network.modules():
            if isinstance(module, Fusion):
                module.encode = MethodType(_encode, module)  # type: ignore[method-assign]
            if isinstance(module, Fuser):
                module.forward = MethodType(_fuse, module)  # type: ignore[method-assign]
            if isinstance(module, Convolution3):
                module.forward = MethodType(_convolve, module)  # type: ignore[method-assign]
    return network


def _encode(self: Fusion, tokens: Tensor) -> Tensor:
    large = tokens
    if self.factor > 1:
        large = F.interpolate(
            tokens, scale_factor=self.factor, mode="bilinear", align_corners=False
        )
    out: Tensor = self.encode_enc(large)
    return out


def _convolve(self: Convolution3, x: Tensor, *, rectify: bool = False) -> Tensor:
    return F.conv2d(F.relu(x) if rectify else x, self.weight, self.bias, padding=1)


def _fuse(self: Fuser, f16: Tensor, planes: Tensor) -> Tensor:
    joined = self.block1(torch.cat((f16.expand(2, -1, -1, -1), planes), 1))
    out: Tensor = self.block2(joined + self.attention(joined))
    return out


@cache
def _tensors() -> dict[str, Tensor]:
    spec = importlib.util.spec_from_file_location("fill_weights", TESTS / "fill_weights.py")
    if spec is None or spec.loader is None:
        raise ImportError("cannot load fill_weights.py")
    helper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helper)
    shapes = json.loads((TESTS / "golden" / "colormnet_state_dict.json").read_text())
    made: dict[str, Tensor] = helper.make(shapes)
    return made
