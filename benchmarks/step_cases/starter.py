"""The starter with its packaged weights: full precision, bfloat16, and with the flow blend."""

from __future__ import annotations

from functools import cache

import torch

from models.starter import Starter, StarterPropagator, StarterSettings, load_starter

SIZES = ((480, 854), (720, 1280), (1080, 1920))


def settings() -> tuple[str, ...]:
    """fp32 first: the others' error is measured against it."""
    return ("fp32", "bf16", "bf16 blend")


def build(setting: str, device: torch.device) -> StarterPropagator:
    """A shot with default settings; "blend" carries colors by optical flow as well."""
    precision, *blend = setting.split()
    options = StarterSettings(temporal_blend=0.99 if blend else 0.0)
    return StarterPropagator(_network(precision, device), options)


@cache
def _network(precision: str, device: torch.device) -> Starter:
    return load_starter(device=device, precision=precision)
