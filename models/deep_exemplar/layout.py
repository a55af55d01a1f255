"""Memory layouts of pictures between layers: torch's plain one and oneDNN's blocked one.

oneDNN's float32 convolutions work on blocks of 16 channels. Given a plain picture they copy it into
that layout and their result back, each time; a picture that stays in it gives the same bits with
fewer copies. Convolutions, ReLU, max pooling and sums keep the layout; what does not know it is
given the plain one.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Below, torch runs some layers (512 channels at 1/16 of the size) without oneDNN, to other bits.
_LEAST_PIXELS = 16_384


def blocks_pay(picture: Tensor) -> bool:
    """picture: (1, C, h, w), a network's input. Whether its layers may keep the blocked layout."""
    return (
        picture.dtype == torch.float32
        and picture.device.type == "cpu"
        and picture.shape[-2] * picture.shape[-1] >= _LEAST_PIXELS
        and torch._C._has_mkldnn
        and torch._C._get_mkldnn_enabled()
        and not torch.compiler.is_compiling()
    )


def laid(picture: Tensor, *, blocked: bool) -> Tensor:
    """picture: in either layout. Returns it in the blocked layout if asked to, else as it came."""
    if not blocked or picture.is_mkldnn:
        return picture
    made: Tensor = picture.to_mkldnn()
    return made


def plain(picture: Tensor) -> Tensor:
    """picture: in either layout. Returns it in torch's own."""
    return picture.to_dense() if picture.is_mkldnn else picture
