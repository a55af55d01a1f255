"""What the starter network is compared with: gray, a lookup, patches and optical flow.

Each is a function from the frames' luma, the exemplar and nothing else to chroma per frame.
Luma: (H, W) float32, CIE L. Chroma: (H, W, 2) float32, CIE ab.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F

Array = np.ndarray[Any, np.dtype[Any]]
Colorizer = Callable[[Sequence[Array], Array, Array], Iterator[Array]]


def gray(lumas: Sequence[Array], luma: Array, chroma: Array) -> Iterator[Array]:
    """No chroma at all."""
    for frame in lumas:
        yield np.zeros((*frame.shape, 2), np.float32)


def lookup(lumas: Sequence[Array], luma: Array, chroma: Array) -> Iterator[Array]:
    """The exemplar's mean chroma at each of 101 lightnesses, smoothed."""
    index = np.clip(np.rint(luma), 0, 100).astype(int)
    sums = np.stack(
        [
            cv2.GaussianBlur(
                np.bincount(index.ravel(), weights, minlength=101)[:, None], (0, 0), 2.0
            )[:, 0]
            for weights in (np.ones(index.size), chroma[..., 0].ravel(), chroma[..., 1].ravel())
        ]
    )
    table = (sums[1:] / np.maximum(sums[0], 1e-3)).T.astype(np.float32)  # (101, 2)
    for frame in lumas:
        yield table[np.clip(np.rint(frame), 0, 100).astype(int)]


def patches(lumas: Sequence[Array], luma: Array, chroma: Array) -> Iterator[Array]:
    """The chroma of the exemplar's most similar 28 x 28 patch, four pixels a step, blurred."""
    keys = _patch_keys(luma)
    height, width = luma.shape[0] // 4, luma.shape[1] // 4
    colors = cv2.resize(chroma, (width, height), interpolation=cv2.INTER_AREA).reshape(-1, 2)
    square = (keys * keys).sum(1)
    for frame in lumas:
        query = _patch_keys(frame)
        best = torch.cat([(2 * q @ keys.T - square).argmax(1) for q in query.split(1024)])
        matched = colors[best.numpy()].reshape(height, width, 2)
        matched = cv2.GaussianBlur(matched, (0, 0), 1.0)
        yield cv2.resize(matched, frame.shape[::-1], interpolation=cv2.INTER_CUBIC)


def flow(lumas: Sequence[Array], luma: Array, chroma: Array) -> Iterator[Array]:
    """DIS optical flow from the exemplar through every frame, each warped from the last."""
    engine = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    before = _byte(luma)
    for frame in lumas:
        now = _byte(frame)
        motion = engine.calc(now, before, None)
        y, x = np.mgrid[: now.shape[0], : now.shape[1]].astype(np.float32)
        at = (x + motion[..., 0], y + motion[..., 1])
        chroma = cv2.remap(chroma, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        before = now
        yield chroma


BASELINES: dict[str, Colorizer] = {
    "gray": gray,
    "lookup": lookup,
    "patches": patches,
    "flow": flow,
}


def _byte(luma: Array) -> Array:
    return np.clip(np.rint(luma * 2.55), 0, 255).astype(np.uint8)


def _patch_keys(luma: Array) -> torch.Tensor:
    """(h * w, 49): 7 x 7 means of 4 x 4 pixels around each, L / 100."""
    size = (luma.shape[1] // 4, luma.shape[0] // 4)
    small = torch.from_numpy(cv2.resize(luma, size, interpolation=cv2.INTER_AREA))[None, None]
    padded = F.pad(small / 100, (3, 3, 3, 3), mode="replicate")
    return F.unfold(padded, 7)[0].T.contiguous()
