"""Deterministic weights for any state dict, from key names and shapes alone.

Parity tests need the weights that the published networks were recorded with, without shipping
hundreds of megabytes. Every tensor is a pure function of (salt, key, shape): the order of keys, the
device, the number of threads and the torch version do not matter.

    seed  = sha256(salt + "\\0" + key), first 16 bytes, little endian
    raw   = Philox(key=seed) 64-bit words, one per element, row-major
    u     = (top 24 bits of the word) / 2**23 - 1      exact in float32, in [-1, 1)
    value = float32(offset) + float32(scale) * u       rounded once per operation

Only integer arithmetic and correctly rounded float32 operations are used, so results are bit-exact
everywhere. Golden files depend on every rule below: never change what an existing key gets.

Use, in a test beside this file:  from fill_weights import fill_, make
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, MutableMapping, Sequence

import numpy as np
import torch
from torch import Tensor

SALT = "fill-v1"

# Tensors whose range matters: (pattern searched in the key, offset, scale).
SPECIAL = (
    (r"(^|\.)temperature$", 24.0, 8.0),
    (r"(^|\.)ls\d\.gamma$", 0.6, 0.2),
    (r"(^|\.)(pos_embed|cls_token|mask_token)$", 0.0, 0.5),
)

# Weights that set how sharp an attention is, or how far the output swings: (pattern, gain).
GAIN = (
    (r"^key_proj\.key_proj\.weight$", 3.0),
    (r"^key_proj\.[de]_proj\.weight$", 2.0),
    (r"^short_term_attn\.relative_emb_k\.weight$", 2.0),
    (r"^decoder\.hidden_update\.transform\.weight$", 0.5),
    (r"^decoder\.pred\.weight$", 0.6),
)


def make(spec: Mapping[str, Sequence[object]], salt: str = SALT) -> dict[str, Tensor]:
    """A state dict on the CPU from {key: [shape, dtype name]}; keys that start with _ are notes."""
    made = {}
    for key, entry in spec.items():
        if key.startswith("_"):
            continue
        shape, dtype = entry[0], getattr(torch, str(entry[1]).removeprefix("torch."))
        if dtype.is_floating_point:
            made[key] = tensor_for(key, shape, salt).to(dtype)
        else:
            made[key] = torch.zeros(tuple(shape), dtype=dtype)
    return made


@torch.no_grad()
def fill_(state_dict: MutableMapping[str, Tensor], salt: str = SALT) -> MutableMapping[str, Tensor]:
    """Overwrite every floating tensor of a state dict in place and return the state dict."""
    for key in sorted(state_dict):
        tensor = state_dict[key]
        if tensor.is_floating_point():
            tensor.copy_(tensor_for(key, tensor.shape, salt))
    return state_dict


def tensor_for(key: str, shape: Sequence[int], salt: str = SALT) -> Tensor:
    """The float32 CPU tensor of one key."""
    size = tuple(int(n) for n in shape)
    u = _uniform(key, math.prod(size), salt)
    offset_and_scale = rule(key, size)
    if offset_and_scale is None:
        norm = math.sqrt(math.fsum(float(v) ** 2 for v in u))
        u = (u.astype(np.float64) / norm).astype(np.float32)
    else:
        u *= np.float32(offset_and_scale[1])
        u += np.float32(offset_and_scale[0])
    return torch.from_numpy(u.reshape(size))


def rule(key: str, shape: Sequence[int]) -> tuple[float, float] | None:
    """(offset, scale) of a floating tensor, or None for a unit vector. The first match wins."""
    if key.endswith("running_mean"):
        return 0.0, 0.1
    if key.endswith("running_var"):
        return 1.0, 0.25
    if key.endswith(("weight_u", "weight_v")):
        return None
    for pattern, offset, scale in SPECIAL:
        if re.search(pattern, key):
            return offset, scale
    if len(shape) <= 1:
        return (1.0, 0.2) if key.endswith("weight") else (0.0, 0.1)
    if key.endswith("bias"):
        return 0.0, 0.1
    gain = next((g for pattern, g in GAIN if re.search(pattern, key)), 1.0)
    return 0.0, gain * math.sqrt(3.0 / math.prod(shape[1:]))


def checksum(tensor: Tensor) -> str:
    """First 12 hex digits of sha256 over the tensor's bytes (row-major, little endian)."""
    data = tensor.detach().cpu().contiguous().numpy().tobytes()
    return hashlib.sha256(data).hexdigest()[:12]


def _uniform(key: str, count: int, salt: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256((salt + "\0" + key).encode()).digest()[:16], "little")
    raw = np.random.Philox(key=seed).random_raw(count)
    u = (raw >> np.uint64(40)).astype(np.float32)
    u *= np.float32(2.0**-23)
    u -= np.float32(1.0)
    return u
