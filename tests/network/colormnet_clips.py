"""Frames and exemplars of the recorded ColorMNet clips: formulas, bit-exact on every platform."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def luma(height: int, width: int, t: int, seed: int = 0) -> Tensor:
    """CIE L of frame t, (1, 1, H, W) float32: two moving waves, fine texture, a moving disc."""
    y, x = _grid(height, width)
    s = 17 * seed
    a = _triangle(3 * x + y + 5 * t + s, 61)
    b = _triangle(2 * y - x + 7 * t + 3 * s, 47)
    c = _triangle(11 * x + 13 * y + s, 9)
    center_y = (height // 3 + 3 * t + 5 * seed) % height
    center_x = (width // 4 + 6 * t + 11 * seed) % width
    disc = (y - center_y) ** 2 + (x - center_x) ** 2 < (min(height, width) // 5) ** 2
    plane = 100.0 * (0.40 * a + 0.25 * b + 0.15 * c + 0.20 * disc.astype(np.float64))
    return torch.from_numpy(plane.astype(np.float32))[None, None]


def chroma(height: int, width: int, t: int, seed: int = 0) -> Tensor:
    """CIE a and b of an exemplar, (1, 2, H, W) float32, within -80..80."""
    y, x = _grid(height, width)
    s = 29 * seed
    a = 160.0 * _triangle(2 * x + 3 * y + s + 4 * t, 83) - 80.0
    b = 140.0 * _triangle(5 * x - 2 * y + 2 * s + 3 * t, 71) - 70.0
    return torch.from_numpy(np.stack([a, b]).astype(np.float32))[None]


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:height, 0:width]
    return y, x


def _triangle(n: np.ndarray, half_period: int) -> np.ndarray:
    return np.abs((n % (2 * half_period)) - half_period) / float(half_period)
