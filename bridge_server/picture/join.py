"""Join full-size chroma with the plate's untouched luma, in the plate's own coding."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bridge_server.media.frame import (
    Array,
    Coding,
    Floats,
    Picture,
    PlateFrame,
    RgbCoding,
    RgbPicture,
    YcbcrCoding,
    YcbcrPicture,
)
from bridge_server.picture.luma import matrix_weights, plate_luma
from bridge_server.picture.planes import alpha_plane, in_place, other_channels, store_color, y_plane
from bridge_server.picture.rendition import color_difference
from bridge_server.picture.spaces import Space, Spaces
from bridge_server.picture.subsample import subsample

Gamut = Literal["preserve_luma", "clip", "none"]
#: Pixels worked on at once; keeps intermediate planes inside the processor's cache.
_CHUNK = 1 << 15


@dataclass(frozen=True)
class JoinSettings:
    """saturation: factor on chroma. gamut: what happens to colors the space cannot hold:
    preserve_luma takes chroma back until they fit, clip cuts channels (luma changes there), none
    leaves them. chroma_only: the color without the picture: added to the plate it gives the joined
    picture (float); integers and YCbCr lie around middle gray. neutralize: drop a tint the plate
    has; off adds our color to it. chroma_layer: also hand the color alone to an EXR writer.
    """

    spaces: Spaces
    saturation: float = 1.0
    gamut: Gamut = "preserve_luma"
    chroma_only: bool = False
    neutralize: bool = True
    chroma_layer: bool = False


def join(
    frame: PlateFrame,
    chroma: Tensor | Array,
    settings: JoinSettings,
    target: Coding | None = None,
    *,
    threads: int = 1,
) -> PlateFrame:
    """The colored frame.

    chroma: (2, H, W) of the canvas, CIE a and b, any float type. target: the coding to make
    (Output.target), by default the plate's, a gray YCbCr plate becoming 4:4:4. The Y plane is the
    plate's bit for bit where depth and range are the same. threads: that share the rows. Raises
    ValueError on another size.
    """
    # A read-only buffer, as the wire hands it over, is copied: torch warns of it otherwise.
    plane = torch.as_tensor(
        np.require(chroma, requirements="W") if isinstance(chroma, np.ndarray) else chroma
    )
    if tuple(plane.shape) != (2, *frame.canvas):
        raise ValueError(f"expected chroma (2, H, W) for {frame.canvas}, got {tuple(plane.shape)}")
    if frame.window:
        top, left = frame.window.top, frame.window.left
        height, width = frame.picture.size
        plane = plane[:, top : top + height, left : left + width]
    target = target or _own_coding(frame.picture)
    if isinstance(target, YcbcrCoding):
        return replace(frame, picture=_ycbcr(frame.picture, plane, settings, target, threads))
    return _rgb(frame, plane, settings, target, threads)


def _own_coding(picture: Picture) -> Coding:
    coding = picture.coding
    return replace(coding, gray=False) if isinstance(coding, YcbcrCoding) else coding


def _rgb(
    frame: PlateFrame, chroma: Tensor, settings: JoinSettings, target: RgbCoding, threads: int
) -> PlateFrame:
    spaces, picture = settings.spaces, frame.picture
    luma = plate_luma(picture, spaces.input)
    kept = spaces.convert_luma(luma)
    tint = None if settings.neutralize else _tint(picture, spaces, kept)
    height, width = luma.shape
    pixels, names = other_channels(picture, target)
    layer = np.empty((height, width, 3), np.float32) if settings.chroma_layer else None
    bounds = _bounds(spaces.output, target)

    def work(rows: slice) -> None:
        base = kept[rows] if tint is None else kept[rows] + tint[:, rows]
        difference = _fitted(
            luma[rows], base, chroma[:, rows], settings, spaces.output.weights, bounds
        )
        if layer is not None:
            layer[rows] = difference.transpose(1, 2, 0)
        if not settings.chroma_only:
            difference += base
        elif not target.floating:
            difference += np.float32(0.5)
        store_color(difference, target, pixels[rows])

    _in_chunks(work, height, width, threads)
    joined = RgbPicture(pixels, names, (0, 1, 2), target)
    if isinstance(picture, RgbPicture) and not picture.gray:
        joined = in_place(picture, joined)
    return replace(frame, picture=joined, chroma_layer=layer)


def _ycbcr(
    picture: Picture, chroma: Tensor, settings: JoinSettings, target: YcbcrCoding, threads: int
) -> YcbcrPicture:
    spaces = settings.spaces
    luma = plate_luma(picture, spaces.input)
    kept = spaces.convert_luma(luma)
    weights = matrix_weights(target.matrix)
    small_luma = subsample(torch.from_numpy(luma), target).numpy()
    small_kept = subsample(torch.from_numpy(kept), target).numpy()
    small_chroma = subsample(chroma.float(), target)
    tint = None
    if not settings.neutralize:
        tint = subsample(torch.from_numpy(_tint(picture, spaces, kept)), target).numpy()
    height, width = small_luma.shape
    planes = np.empty((2, height, width), target.dtype)
    # Cb and Cr are differences of blue and red from luma, scaled to +-0.5 (ITU-R BT.601, 2.5.1).
    scale = [np.float32(target.chroma_span / (2.0 * (1.0 - weights[i]))) for i in (2, 0)]
    margin = 0 if target.full_range else 1 << (target.bits - 8)
    highest = (1 << target.bits) - 1 - margin

    def work(rows: slice) -> None:
        base = small_kept[rows] if tint is None else small_kept[rows] + tint[:, rows]
        difference = _fitted(
            small_luma[rows], base, small_chroma[:, rows], settings, weights, (0.0, 1.0)
        )
        if tint is not None and not settings.chroma_only:
            difference += tint[:, rows]
        for plane, (channel, factor) in enumerate(zip((2, 0), scale, strict=True)):
            codes = np.rint(difference[channel] * factor + np.float32(target.neutral))
            planes[plane, rows] = np.clip(codes, margin, highest)

    _in_chunks(work, height, width, threads)
    y = luma_codes(picture, kept, settings, target)
    return YcbcrPicture(y, planes[0], planes[1], alpha_plane(picture, target), target)


def luma_codes(
    picture: Picture, kept: Floats, settings: JoinSettings, target: YcbcrCoding
) -> Array:
    """The Y plane of the joined picture: the plate's own, or middle gray under color alone."""
    y = y_plane(picture, kept, settings.spaces, target)
    return np.full_like(y, target.black + target.luma_span // 2) if settings.chroma_only else y


def _in_chunks(work: Callable[[slice], None], height: int, width: int, threads: int) -> None:
    """Run work on bands of rows small enough for the processor's cache."""
    step = max(1, _CHUNK // width)
    bands = [slice(top, min(top + step, height)) for top in range(0, height, step)]
    if threads == 1 or len(bands) == 1:
        for rows in bands:
            work(rows)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, bands):
            pass


def _fitted(
    luma: Floats,
    base: Floats,
    chroma: Tensor,
    settings: JoinSettings,
    weights: tuple[float, float, float],
    bounds: tuple[float, float],
) -> Floats:
    """Color differences (3, h, w) that the gamut option lets stand.

    base: (h, w) or (3, h, w), what they will be added to.
    """
    gray = settings.spaces.gray_view(luma)
    scaled = (chroma.float() * settings.saturation).numpy()
    difference = color_difference(gray, luma, scaled, settings.spaces, weights)
    finite = np.isfinite(base)
    if not finite.all():
        difference *= finite
        base = np.where(finite, base, np.float32(0))
    if settings.gamut == "none":
        return difference
    low = np.minimum(np.float32(bounds[0]) - base, np.float32(0))
    high = np.maximum(np.float32(bounds[1]) - base, np.float32(0))
    if settings.gamut == "clip":
        clipped: Floats = np.clip(difference, low, high)
        return clipped
    # The bound on the side of each difference, as a multiple of it; 0/0 asks for nothing.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        room = np.fmax(high / difference, low / difference)
    factor = np.fmin(np.fmin(room[0], room[1]), np.fmin(room[2], np.float32(1)))
    difference *= np.maximum(factor, np.float32(0))
    return difference


def _bounds(space: Space, target: RgbCoding) -> tuple[float, float]:
    """Lowest and highest code of a color; scene-referred float has no ceiling."""
    return space.black, float("inf") if space.scene and target.floating else 1.0


def _tint(picture: Picture, spaces: Spaces, kept: Floats) -> Floats:
    """The plate's own color as differences from its luma, (3, H, W) in output codes."""
    if isinstance(picture, YcbcrPicture):
        if picture.cb is None or picture.cr is None:
            return np.zeros((3, *kept.shape), np.float32)
        return _ycbcr_tint(picture)
    values = picture.pixels[..., list(picture.color)].astype(np.float32)
    if not picture.coding.floating:
        values = values / np.float32(picture.coding.peak)
    if spaces.input != spaces.output:
        values = spaces.output.from_linear(spaces.input.to_linear(values))
    return np.ascontiguousarray((values - kept[..., None]).transpose(2, 0, 1))


def _ycbcr_tint(picture: YcbcrPicture) -> Floats:
    coding = picture.coding
    height, width = picture.size
    weights = matrix_weights(coding.matrix)
    planes = []
    for plane, weight in ((picture.cb, weights[2]), (picture.cr, weights[0])):
        assert plane is not None
        values = (plane.astype(np.float32) - coding.neutral) / coding.chroma_span
        full = values.repeat(1 << coding.shift_y, 0).repeat(1 << coding.shift_x, 1)
        planes.append(full[:height, :width] * np.float32(2.0 * (1.0 - weight)))
    blue, red = planes
    green = -(weights[0] * red + weights[2] * blue) / weights[1]
    return np.stack((red, green, blue)).astype(np.float32)
