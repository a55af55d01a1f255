"""The planes of a joined picture that are not ours: luma, alpha and every other channel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from bridge_server.media.frame import (
    Array,
    Floats,
    Picture,
    RgbCoding,
    RgbPicture,
    YcbcrCoding,
    YcbcrPicture,
)
from bridge_server.picture.spaces import Spaces


def y_plane(picture: Picture, kept: Floats, spaces: Spaces, target: YcbcrCoding) -> Array:
    """The plate's own Y codes where range and depth agree, else the nearest codes."""
    own = picture.coding
    if isinstance(picture, YcbcrPicture) and spaces.input == spaces.output:
        assert isinstance(own, YcbcrCoding)
        if (own.bits, own.full_range) == (target.bits, target.full_range):
            return picture.y
        codes = np.arange(1 << own.bits, dtype=np.float64)
        table = _codes((codes - own.black) / own.luma_span, target)
        scaled: Array = np.take(table, picture.y)
        return scaled
    return _codes(np.nan_to_num(kept), target)


def _codes(values: Array, target: YcbcrCoding) -> Array:
    scaled = np.rint(values * target.luma_span + target.black)
    codes: Array = np.clip(scaled, 0, (1 << target.bits) - 1).astype(target.dtype)
    return codes


def store_color(values: Floats, target: RgbCoding, pixels: Array) -> None:
    """Put (3, h, w) values into the first channels of (h, w, C) pixels."""
    if target.floating and target.color_bits == 16:
        values = torch.from_numpy(values).half().numpy()
    elif not target.floating:
        values = np.nan_to_num(values) * np.float32(target.peak)
        values = np.clip(np.rint(values, out=values), 0, target.peak).astype(target.dtype)
    for channel in range(3):
        pixels[..., channel] = values[channel]


def other_channels(picture: Picture, target: RgbCoding) -> tuple[Array, tuple[str, ...]]:
    """A picture with room for red, green, blue first, and the plate's other channels after."""
    height, width = picture.size
    if isinstance(picture, YcbcrPicture):
        alpha = _scaled(picture.alpha, (1 << picture.coding.bits) - 1, target)
        others = [] if alpha is None else [alpha]
        names: tuple[str, ...] = ("R", "G", "B", "A")
    else:
        rest = [i for i in range(len(picture.names)) if i not in picture.color]
        found = [_scaled(picture.pixels[..., i], picture.coding.peak, target) for i in rest]
        others = [plane for plane in found if plane is not None]
        names = ("R", "G", "B", *(picture.names[i] for i in rest))
    pixels = np.empty((height, width, 3 + len(others)), target.dtype)
    for index, plane in enumerate(others):
        pixels[..., 3 + index] = plane
    return pixels, names[: 3 + len(others)]


def in_place(plate: RgbPicture, joined: RgbPicture) -> RgbPicture:
    """Channels back in the order of the plate."""
    rest = [i for i in range(len(plate.names)) if i not in plate.color]
    source = {place: i for i, place in enumerate((*plate.color, *rest))}
    if [source[i] for i in range(len(plate.names))] == list(range(len(plate.names))):
        return replace(joined, names=plate.names)
    order = [source[i] for i in range(len(plate.names))]
    pixels = np.ascontiguousarray(joined.pixels[..., order])
    return RgbPicture(pixels, plate.names, plate.color, joined.coding)


def alpha_plane(picture: Picture, target: YcbcrCoding) -> Array | None:
    """The plate's alpha in full-range codes of the target, None where either has none."""
    if not target.alpha:
        return None
    coding = RgbCoding(target.bits)
    if isinstance(picture, YcbcrPicture):
        return _scaled(picture.alpha, (1 << picture.coding.bits) - 1, coding)
    place = [i for i, name in enumerate(picture.names) if name.lower() in ("a", "alpha")]
    plane = picture.pixels[..., place[0]] if place else None
    return _scaled(plane, picture.coding.peak, coding)


def _scaled(plane: Array | None, peak: float, target: RgbCoding) -> Array | None:
    """A plane with another value of white, unchanged where white is the same."""
    if plane is None or peak == target.peak:
        return plane if plane is None else plane.astype(target.dtype, copy=False)
    values: Array = plane.astype(np.float32) / np.float32(peak)
    if not target.floating:
        values = np.rint(np.clip(np.nan_to_num(values), 0, 1) * target.peak)
    return values.astype(target.dtype)
