"""Pictures for people: any frame as display-encoded RGB."""

from __future__ import annotations

import numpy as np
import torch

from bridge_server.media.frame import Floats, Picture, YcbcrPicture
from bridge_server.picture.luma import matrix_weights, plate_luma
from bridge_server.picture.spaces import DISPLAY, Space
from models.color import linear_to_srgb


def display_rgb(picture: Picture, space: Space) -> Floats:
    """The picture as a display shows it.

    space: of the picture's codes. Returns (H, W, 3) float32, sRGB-encoded, in 0..1. Sub-sampled
    chroma is repeated, not interpolated.
    """
    if isinstance(picture, YcbcrPicture):
        codes = _rgb_codes(picture, plate_luma(picture, space))
    else:
        codes = picture.pixels[..., list(picture.color)].astype(np.float32)
        codes = codes / np.float32(picture.coding.peak)
    if space.name != DISPLAY:
        codes = linear_to_srgb(torch.from_numpy(space.to_linear(codes))).numpy()
    shown: Floats = np.clip(np.nan_to_num(codes), 0.0, 1.0)
    return shown


def _rgb_codes(picture: YcbcrPicture, luma: Floats) -> Floats:
    """R'G'B' of Y'CbCr (ITU-R BT.601 2.5.1 with the weights of the coding's matrix)."""
    coding = picture.coding
    if picture.cb is None or picture.cr is None:
        return np.repeat(luma[..., None], 3, axis=2)
    red_weight, green_weight, blue_weight = matrix_weights(coding.matrix)
    height, width = picture.size
    differences = []
    for plane, weight in ((picture.cb, blue_weight), (picture.cr, red_weight)):
        values = (plane.astype(np.float32) - coding.neutral) * np.float32(
            2.0 * (1.0 - weight) / coding.chroma_span
        )
        full = values.repeat(1 << coding.shift_y, 0).repeat(1 << coding.shift_x, 1)
        differences.append(full[:height, :width])
    blue, red = differences
    green = -(red_weight * red + blue_weight * blue) / green_weight
    stacked: Floats = np.stack((luma + red, luma + green, luma + blue), 2).astype(np.float32)
    return stacked
