"""Reads saved JSON values back with their types checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from models.propagator import Exemplar, Json


def integer(values: Mapping[str, Json], name: str) -> int:
    """An integer. Raises ValueError when it is missing or something else."""
    value = values.get(name)
    if not isinstance(value, int):
        raise ValueError(f"state {name}: expected an integer, got {value!r}")
    return value


def array(values: Mapping[str, Json], name: str) -> list[Json]:
    """A list. Raises ValueError when it is missing or something else."""
    value = values.get(name)
    if not isinstance(value, list):
        raise ValueError(f"state {name}: expected a list, got {value!r}")
    return value


def mapping(values: Mapping[str, Json], name: str) -> dict[str, Json]:
    """A mapping. Raises ValueError when it is missing or something else."""
    value = values.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"state {name}: expected a mapping, got {value!r}")
    return value


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with prefix, without it."""
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def checked_size(exemplar: Exemplar) -> tuple[int, int]:
    """Height and width. Raises ValueError when the planes do not fit one another."""
    height, width = exemplar.luma.shape[-2:]
    for name, channels in (("luma", 1), ("chroma", 2), ("valid", 1)):
        plane, expected = getattr(exemplar, name), (1, channels, height, width)
        if plane is not None and tuple(plane.shape) != expected:
            raise ValueError(f"exemplar {name}: expected {expected}, got {tuple(plane.shape)}")
    return height, width


def own_copy(exemplar: Exemplar, device: torch.device) -> Exemplar:
    """The exemplar on a device, in float32, apart from the caller's tensors."""
    luma, chroma = (
        t.detach().to(device, torch.float32, copy=True) for t in (exemplar.luma, exemplar.chroma)
    )
    valid = exemplar.valid
    if valid is not None:
        all_real = bool((valid > 0).all())
        valid = None if all_real else valid.detach().to(device, torch.float32, copy=True)
    return replace(exemplar, luma=luma, chroma=chroma, valid=valid)
