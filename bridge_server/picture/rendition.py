"""From gray and chroma to color differences in the codes of a space: color without any luma."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from bridge_server.media.frame import Array, Floats
from bridge_server.picture.spaces import DISPLAY, Spaces, half_index
from models.color import RGB_TO_XYZ, srgb_to_linear

Weights = tuple[float, float, float]
#: Where CIE's f changes from a line to a cube root, and the slope of the line (CIE 15, eq. 8.6).
_BEND, _SLOPE = np.float32(0.2068966), np.float32(7.787)
#: Where the sRGB curve changes from a line to a power (IEC 61966-2-1).
_TOE = np.float32(0.0031308)


def color_difference(
    gray: Floats, luma: Floats, chroma: Floats, spaces: Spaces, weights: Weights
) -> Floats:
    """Red, green and blue minus luma, in the codes of the output space.

    gray: (H, W), what the network saw. luma: (H, W), the plate's luma in codes of the input space.
    chroma: (2, H, W), CIE a and b. weights: luma weights of the result. All float32. Returns
    (3, H, W) float32 whose weighted sum is zero, and exactly zero where chroma is.

    CIE Lab (CIE 15) is inverted as differences from gray, so that no error of the conversion can
    reach the luma. Through a tone-mapping view the linear differences are scaled by the ratio of
    the plate's luminance to the seen one: chromaticity is kept.
    """
    root = np.take(_cube_roots(), half_index(gray))
    seen = _cube(root)
    x = _cube(root + chroma[0] * np.float32(1 / 500)) - seen
    z = _cube(root - chroma[1] * np.float32(1 / 200)) - seen
    linear = seen
    if spaces.view:
        linear = np.maximum(spaces.linear_luma(luma), np.float32(0))
        ratio = linear / np.maximum(seen, np.float32(1e-4))
        x, z = x * ratio, z * ratio
    from_x, from_z = _matrix_columns()
    planes = [linear + from_x[i] * x + from_z[i] * z for i in range(3)]
    if spaces.output.name == DISPLAY:
        red, green, blue = (_display(plane) for plane in planes)
        red, blue = red - green, blue - green
    else:
        codes = spaces.output.from_linear(np.stack(planes, -1))
        colored = (x != 0) | (z != 0)
        red = (codes[..., 0] - codes[..., 1]) * colored
        blue = (codes[..., 2] - codes[..., 1]) * colored
    difference = np.empty((3, *gray.shape), np.float32)
    green = difference[1]
    np.add(np.float32(-weights[0]) * red, np.float32(-weights[2]) * blue, out=green)
    np.add(green, red, out=difference[0])
    np.add(green, blue, out=difference[2])
    return difference


def _cube(root: Floats) -> Floats:
    """Inverse of CIE's f. Two one-sided pieces are added, which is faster than choosing."""
    above = np.maximum(root, _BEND)
    below: Floats = (np.minimum(root, _BEND) - _BEND) / _SLOPE
    below += above * above * above
    return below


def _display(linear: Floats) -> Floats:
    """The sRGB curve, in two one-sided pieces as in _cube."""
    power: Floats = np.maximum(linear, _TOE) ** np.float32(1 / 2.4)
    power *= np.float32(1.055)
    power += np.minimum(linear, _TOE) * np.float32(12.92)
    power -= np.float32(0.055 + 12.92 * 0.0031308)
    return power


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
def _matrix_columns() -> tuple[Floats, Floats]:
    """Linear Rec.709 per unit of X and Z relative to white, with gray mapped to gray exactly."""
    matrix = np.array(RGB_TO_XYZ)
    inverse, white = np.linalg.inv(matrix), matrix.sum(1)
    from_x = (inverse[:, 0] * white[0]).astype(np.float32)
    from_z = (inverse[:, 2] * white[2]).astype(np.float32)
    return from_x, from_z
