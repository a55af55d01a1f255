"""Turns a loaded network into one that computes in a shorter number format, where that is safe."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .config import Precision
from .transformer import LayerScale, Transformer


def lower(network: nn.Module, precision: Precision) -> None:
    """Cast a network in place; without effect when it computes in float32.

    BatchNorms are folded into their convolutions first, so that a result is rounded once instead of
    twice. The transformer's residual stream, its norms and its position table stay float32: they
    cost little and carry most of the error otherwise. The state dict is no longer the checkpoint's.
    """
    if precision.compute == torch.float32:
        return
    for module in list(network.modules()):
        _fold(module)
    network.to(dtype=precision.compute)
    for module in network.modules():
        if isinstance(module, (nn.LayerNorm, LayerScale)):
            module.float()
        if isinstance(module, Transformer):
            module.pos_embed.data = module.pos_embed.data.float()
            module.cls_token.data = module.cls_token.data.float()
    network.to(memory_format=torch.channels_last)


def _fold(module: nn.Module) -> None:
    """Fold every BatchNorm among a module's children into the convolution that it follows."""
    children = dict(module.named_children())
    for name, child in children.items():
        if not isinstance(child, nn.BatchNorm2d):
            continue
        before = name.replace("bn", "conv") if name.startswith("bn") else str(int(name) - 1)
        convolution = children[before]
        if not isinstance(convolution, nn.Conv2d):
            raise TypeError(f"{before}: expected a convolution before {name}")
        setattr(module, before, fuse_conv_bn_eval(convolution, child))
        setattr(module, name, nn.Identity())
