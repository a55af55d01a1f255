"""The color of a joined picture on its own, and back beside the plate's untouched planes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bridge_server.media.frame import (
    Array,
    Coding,
    Picture,
    PlateFrame,
    RgbPicture,
    YcbcrCoding,
    YcbcrPicture,
)
from bridge_server.picture.join import JoinSettings, luma_codes
from bridge_server.picture.luma import plate_luma
from bridge_server.picture.planes import alpha_plane, in_place, other_channels


def color_of(joined: Picture) -> Array:
    """All that a joined picture of integer codes does not share with its plate.

    Returns (rows, width): Cb over Cr, or red minus green over green over blue minus green.
    """
    if isinstance(joined, YcbcrPicture):
        assert joined.cb is not None
        assert joined.cr is not None
        return np.concatenate((joined.cb, joined.cr))
    red, green, blue = (joined.pixels[..., i] for i in joined.color)
    mask = joined.pixels.dtype.type((1 << joined.coding.bits) - 1)
    return np.concatenate(((red - green) & mask, green, (blue - green) & mask))


def rejoin(frame: PlateFrame, color: Array, settings: JoinSettings, target: Coding) -> PlateFrame:
    """The picture that `join` made of this plate frame, bit for bit, from its `color_of`."""
    picture = frame.picture
    if isinstance(target, YcbcrCoding):
        kept = settings.spaces.convert_luma(plate_luma(picture, settings.spaces.input))
        y = luma_codes(picture, kept, settings, target)
        cb, cr = np.split(color, 2)
        alpha = alpha_plane(picture, target)
        return replace(frame, picture=YcbcrPicture(y, cb, cr, alpha, target))
    red, green, blue = np.split(color, 3)
    mask = color.dtype.type((1 << target.bits) - 1)
    pixels, names = other_channels(picture, target)
    for channel, plane in enumerate(((red + green) & mask, green, (blue + green) & mask)):
        pixels[..., channel] = plane
    joined = RgbPicture(pixels, names, (0, 1, 2), target)
    if isinstance(picture, RgbPicture) and not picture.gray:
        joined = in_place(picture, joined)
    return replace(frame, picture=joined)
