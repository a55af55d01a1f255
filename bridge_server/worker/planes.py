"""Pixel parts to tensors and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from host_plugins.wire.buffers import Buffer
from host_plugins.wire.errors import BridgeError

#: codes of integer planes span the full range: 255 and 65535 are white
WHITE = {"u1": 255.0, "<u2": 65535.0, "<f2": 1.0, "<f4": 1.0}


def to_tensor(buffer: Buffer) -> Tensor:
    """A raw plane as float32, integers scaled to 0..1; the shape is the buffer's.

    The result is a copy: the message's memory is free to go.
    """
    array = np.frombuffer(buffer.data, dtype=buffer.dtype).reshape(buffer.shape)
    tensor = torch.from_numpy(array.astype(np.float32))
    white = WHITE[buffer.dtype]
    return tensor if white == 1.0 else tensor / white


def from_tensor(name: str, tensor: Tensor, dtype: str) -> Buffer:
    """A raw plane of `dtype` ("<f2" or "<f4") from a float tensor of the plane's shape."""
    if dtype not in ("<f2", "<f4"):
        raise BridgeError("unsupported", f"expected planes back as <f2 or <f4, got {dtype!r}")
    array = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
    if dtype == "<f2":
        array = array.astype(np.float16)
    shape = tuple(int(side) for side in array.shape)
    return Buffer(name, dtype, shape, np.ascontiguousarray(array).data.cast("B"))
