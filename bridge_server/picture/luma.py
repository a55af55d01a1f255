"""Luma of a plate: as stored, as the network sees it at full size, and at working size."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from bridge_server.media.frame import MATRICES, Floats, Picture, PlateFrame, YcbcrPicture
from bridge_server.picture.spaces import Space, Spaces, as_float, luma_of
from models.color import gray_to_luma
from models.geometry import resize


def luma_for_network(frame: PlateFrame, spaces: Spaces) -> Floats:
    """The full-size luma plane for the wire.

    Returns (H, W) float32, sRGB-encoded gray, 0..1 nominal, may lie outside, always finite. H and
    W are those of the canvas; outside the stored pixels it is black.
    """
    gray = spaces.gray_view(plate_luma(frame.picture, spaces.input))
    window = frame.window
    if window is None:
        return gray
    canvas = np.zeros((window.height, window.width), np.float32)
    height, width = gray.shape
    canvas[window.top : window.top + height, window.left : window.left + width] = gray
    return canvas


def working_luma(gray: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Luma at working size for a propagator's step.

    gray: (1, 1, H, W), sRGB-encoded. Returns CIE L in [0, 100] and the gray in [0, 1] it was made
    of, both (1, 1, height, width) float32; hand the latter to upscale_chroma.
    """
    small = resize(gray.float().clamp(0.0, 1.0), height, width)
    return gray_to_luma(small), small


def plate_luma(picture: Picture, space: Space) -> Floats:
    """Luma in the codes of the plate's own space, black at 0 and white at 1 for integers.

    The weighted sum of the channels as they are stored (the Y plane where there is one), which is
    what stays exact. Returns (H, W) float32.
    """
    if isinstance(picture, YcbcrPicture):
        coding = picture.coding
        codes = np.arange(1 << coding.bits, dtype=np.float32)
        return np.take((codes - coding.black) / np.float32(coding.luma_span), picture.y)
    if picture.gray:
        values = as_float(picture.pixels[..., picture.color[0]])
    else:
        values = luma_of(picture.pixels, space.weights, picture.color)
    return values if picture.coding.floating else values / np.float32(picture.coding.peak)


def matrix_weights(matrix: str) -> tuple[float, float, float]:
    """Luma weights of a YCbCr matrix by its name."""
    red, blue = MATRICES[matrix]
    return red, 1.0 - red - blue, blue
