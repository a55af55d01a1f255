"""Weight files: tensors only, loaded strictly, naming whatever is missing or unexpected."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class WeightsMismatch(ValueError):
    """The tensors do not fit the network; the message lists keys and shapes."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a flat dict of tensors from a .safetensors file or a torch checkpoint, on the CPU.

    Torch files are read with weights_only=True, so that no code in them can run.
    Raises OSError when the file cannot be read, WeightsMismatch when it is no flat tensor dict.
    """
    try:
        loaded = _read(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).strip().splitlines()
        raise WeightsMismatch(
            f"{path.name} is no file of tensors: {reason[0] if reason else type(error).__name__}"
        ) from None
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise WeightsMismatch(
            f"expected a flat dict of tensors in {path.name}, got {type(loaded).__name__}; "
            "is this the official checkpoint?"
        )
    return {str(key): value for key, value in loaded.items()}


def convert(source: Path, target: Path) -> None:
    """Write the tensors of any file that read_tensors reads as a .safetensors file.

    Every value keeps its dtype and its bits. Raises as read_tensors does.
    """
    tensors = {key: value.contiguous().clone() for key, value in read_tensors(source).items()}
    save_file(tensors, target)


def load_strict(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Load tensors into module; every key and shape must fit.

    source names the file in the message. Raises WeightsMismatch.
    """
    own = module.state_dict()
    missing = sorted(own.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - own.keys())
    shapes = [
        f"{key}: expected {tuple(own[key].shape)}, got {tuple(tensors[key].shape)}"
        for key in sorted(own.keys() & tensors.keys())
        if own[key].shape != tensors[key].shape
    ]
    if missing or unexpected or shapes:
        raise WeightsMismatch(
            f"{source} does not fit {type(module).__name__}: "
            f"{len(missing)} missing {_first(missing)}, {len(unexpected)} unexpected "
            f"{_first(unexpected)}, {len(shapes)} of another shape {_first(shapes)}; "
            "use the file that the weights list names"
        )
    module.load_state_dict(dict(tensors), strict=True)


def _read(path: Path) -> object:
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _first(names: list[str], count: int = 5) -> str:
    more = f", … {len(names) - count} more" if len(names) > count else ""
    return f"[{', '.join(names[:count])}{more}]"
