"""Weights and pictures behind golden/deep_exemplar.npz, as pure functions.

Weights: fill_weights, then three overrides that keep a random network testable: PReLU slopes near
0.25 instead of near 1, a smaller last layer and a weak coupling to the previous frame. Without the
latter a random ColorVidNet is chaotic: a 1e-3 change of one frame's chroma grows to 240 within four
propagated frames, and no two correct implementations would agree on the fifth.

Pictures: integer arithmetic only, so every platform makes the same uint8 pixels.
"""

from __future__ import annotations

from functools import cache

import fill_weights
import numpy as np
import torch
from scipy import ndimage
from skimage import color
from torch import Tensor
from torch.autograd.grad_mode import inference_mode

from models.deep_exemplar.color_network import ColorVidNet
from models.deep_exemplar.networks import Networks
from models.deep_exemplar.vgg import Vgg19
from models.deep_exemplar.warp import WarpNet
from models.propagator import Exemplar


@cache
def networks() -> Networks:
    """The three networks with the recipe's weights; shared, so never changed in place."""
    with inference_mode(False), torch.no_grad():  # whoever asks first
        made = Networks(Vgg19(), WarpNet(), ColorVidNet())
        for network in (made.vgg, made.warp, made.color):
            network.eval().requires_grad_(False)
            fill_weights.fill_(network.state_dict())
        override(made)
    return made


def override(made: Networks) -> None:
    """In place, after fill_. Every operation is exact or one correctly rounded float32 one."""
    for slope in (t for t in made.warp.state_dict().values() if t.numel() == 1):
        slope.sub_(0.75)
    colors = made.color.state_dict()
    colors["conv10_ab.weight"].mul_(0.25)
    colors["conv1_1.0.weight"][:, 4:7].mul_(2.0**-9)  # previous frame's L, a, b


def rgb_frame(t: int, h: int, w: int, *, seed: int = 0, colored: bool = False) -> np.ndarray:
    """uint8 (h, w, 3): moving triangle waves, a moving checkerboard and a fixed texture."""
    y, x = np.mgrid[0:h, 0:w].astype(np.int64)

    def triangle(v: np.ndarray, p: int) -> np.ndarray:
        return np.abs(v % (2 * p) - p) * 255 // p

    planes = []
    for c in range(3):
        across, down = (3 + c * 2, 1 + c * 3) if colored else (3, 1)
        a = triangle(x * across + y * 2 + t * 5 + seed * 17, 53)
        b = triangle(y * 5 - x * down + t * 3 + seed * 31, 71)
        d = ((x // 16 + y // 12 + t // 2 + seed) % 2) * 60
        n = ((x * x * 7 + y * y * 13 + x * y * 3 + seed * 101) % 23) * 3
        planes.append(np.clip((a * 3 + b * 3) // 8 + d // 2 + n // 2, 0, 255))
    return np.stack(planes, -1).astype(np.uint8)


def lab(rgb: np.ndarray) -> Tensor:
    """uint8 (h, w, 3) -> float32 (1, 3, h, w): CIE Lab, L in [0, 100]."""
    return torch.from_numpy(color.rgb2lab(rgb).transpose(2, 0, 1).copy()).float()[None]


def luma(t: int, h: int, w: int, *, seed: int) -> Tensor:
    """(1, 1, h, w): L of a frame to color."""
    return lab(rgb_frame(t, h, w, seed=seed))[:, :1]


def exemplar(rgb: np.ndarray, *, index: int | None = None) -> Exemplar:
    """An exemplar of a uint8 (h, w, 3) picture."""
    planes = lab(rgb)
    return Exemplar(planes[:, :1], planes[:, 1:], index=index)


def crop_resized(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """The official driver's way to its picture size: scaled, cut in the middle, truncated."""
    h, w = rgb.shape[:2]
    if h / w == height / width:
        new_h, new_w = (h, w) if h == height else (h * height // h, w * height // h)
    elif h / w > height / width:
        new_h, new_w = int(h * width / w), int(w * width / w)
    else:
        new_h, new_w = int(h * height / h), int(w * height / h)
    factors = np.array([h / new_h, w / new_w, 1.0])
    blurred = ndimage.gaussian_filter(
        rgb.astype(np.float64), np.maximum(0, (factors - 1) / 2), mode="mirror"
    )
    scaled = ndimage.zoom(blurred, 1 / factors, order=1, mode="mirror", grid_mode=True)
    top, left = (new_h - height) // 2, (new_w - width) // 2
    return scaled[top : top + height, left : left + width].astype(np.uint8)
