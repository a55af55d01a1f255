"""Reading the weights that ship with the starter network."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from models.starter.blocks import fold_norms
from models.starter.network import Starter
from models.weights import load_strict, read_tensors

WEIGHTS = Path(__file__).parent / "starter.safetensors"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_starter(
    path: Path = WEIGHTS,
    *,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
) -> Starter:
    """The network with its packaged weights, norms folded, ready for inference.

    precision: "fp32" or "bf16", of the convolutions and of the matching's products.
    Raises ValueError for another precision, WeightsMismatch or OSError for a bad file.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}")
    network = Starter()
    fold_norms(network)
    tensors = {name: value.float() for name, value in read_tensors(path).items()}
    load_strict(network, tensors, source=path.name)
    return prepare(network, device=device, precision=precision)


def prepare(
    network: Starter, *, device: torch.device | str = "cpu", precision: str = "fp32"
) -> Starter:
    """Bring a network to its form for inference; the temperatures stay float32."""
    network.requires_grad_(False).eval().to(device)
    parts: tuple[nn.Module, ...] = (network.encoder, network.valuer, network.decoder)
    for part in parts:
        part.to(dtype=PRECISIONS[precision], memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
