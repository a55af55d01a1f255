"""From gray and chroma to color differences in the codes of a space: color without any luma."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from bridge_server.media.frame import Array, Floats
from bridge_server.picture.spaces import DISPLAY, Spaces
from models.color import RGB_TO_XYZ, linear_to_srgb, srgb_to_linear

Weights = tuple[float, float, float]


def color_difference(
    gray: Floats, luma: Floats, chroma: Tensor, spaces: Spaces, weights: Weights
) -> Tensor:
    """Red, green and blue minus luma, in the codes of the output space.

    gray: (H, W), what the network saw. luma: (H, W), the plate's luma in codes of the input space.
    chroma: (2, H, W) float32, CIE a and b. weights: luma weights of the result. Returns
    (3, H, W) float32 whose weighted sum is zero, and exactly zero where chroma is.

    CIE Lab (CIE 15) is inverted as differences from gray, so that no error of the conversion can
    reach the luma. Through a tone-mapping view the linear differences are scaled by the ratio of
    the plate's luminance to the seen one: chromaticity is kept.
    """
    fy = torch.from_numpy(np.take(_cube_roots(), _half_index(gray)))
    seen = _cube(fy)
    x = _cube(fy + chroma[0] / 500.0) - seen
    z = _cube(fy - chroma[1] / 200.0) - seen
    linear = seen
    if spaces.view:
        linear = torch.from_numpy(spaces.linear_luma(luma)).clamp_(min=0.0)
        ratio = linear / seen.clamp(min=1e-4)
        x, z = x * ratio, z * ratio
    from_x, from_z = _matrix_columns()
    planes = [linear + from_x[i] * x + from_z[i] * z for i in range(3)]
    red, blue = _encoded(planes, spaces)
    if spaces.output.name != DISPLAY:
        colored = (x != 0) | (z != 0)
        red, blue = red * colored, blue * colored
    green = -(weights[0] * red + weights[2] * blue)
    return torch.stack((green + red, green, green + blue))


def _encoded(planes: list[Tensor], spaces: Spaces) -> tuple[Tensor, Tensor]:
    """Red minus green and blue minus green in the codes of the output space."""
    if spaces.output.name == DISPLAY:
        red, green, blue = (linear_to_srgb(plane) for plane in planes)
    else:
        codes = spaces.output.from_linear(torch.stack(planes, -1).numpy())
        red, green, blue = torch.from_numpy(codes).unbind(-1)
    return red - green, blue - green


def _cube(f: Tensor) -> Tensor:
    """Inverse of CIE's f: linear light of 0..1 from cube roots."""
    return torch.where(f > 0.2068966, f * f * f, (f - 16.0 / 116.0) / 7.787)


@lru_cache(maxsize=1)
def _cube_roots() -> Array:
    """CIE's f of the light behind every half float as display-encoded gray, none below black."""
    halves = np.arange(65536, dtype=np.uint32).astype(np.uint16).view(np.float16)
    gray = np.nan_to_num(halves.astype(np.float32), nan=0.0, posinf=65504.0, neginf=0.0)
    light = srgb_to_linear(torch.from_numpy(gray).clamp_(min=0.0).double())
    root = torch.where(light > 0.008856, light ** (1.0 / 3.0), 7.787 * light + 16.0 / 116.0)
    table: Array = root.float().numpy()
    return table


@lru_cache(maxsize=1)
def _matrix_columns() -> tuple[list[float], list[float]]:
    """Linear Rec.709 per unit of X and Z relative to white, with gray mapped to gray exactly."""
    matrix = np.array(RGB_TO_XYZ)
    inverse, white = np.linalg.inv(matrix), matrix.sum(1)
    return (inverse[:, 0] * white[0]).tolist(), (inverse[:, 2] * white[2]).tolist()


def _half_index(values: Floats) -> Array:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).view(np.uint16)
