"""FFmpeg pixel formats as our codings; frames between FFmpeg and numpy, bit for bit."""

from __future__ import annotations

import re
from typing import Any

import av
import numpy as np

from bridge_server.media.frame import (
    Array,
    Coding,
    ColorTags,
    Picture,
    RgbCoding,
    RgbPicture,
    YcbcrCoding,
    YcbcrPicture,
)
from host_plugins.wire.errors import BridgeError

_YUV = re.compile(r"^yuv(a?)(j?)(420|422|444|440|411)p(\d+)?(?:le)?$")
_GRAY = re.compile(r"^gray(\d+)?(?:le)?$")
_GBR = re.compile(r"^gbr(a?)p(\d+)?(?:le)?$")
_SHIFTS = {"420": (1, 1), "422": (0, 1), "444": (0, 0), "440": (1, 0), "411": (0, 2)}
#: Layouts that FFmpeg rearranges into a planar one without changing a code.
_REARRANGED = {
    "nv12": "yuv420p", "nv21": "yuv420p", "nv16": "yuv422p", "p010le": "yuv420p10le",
    "yuyv422": "yuv422p", "uyvy422": "yuv422p", "y210le": "yuv422p10le",
    "rgb24": "gbrp", "bgr24": "gbrp", "rgb0": "gbrp", "bgr0": "gbrp", "0rgb": "gbrp",
    "rgba": "gbrap", "bgra": "gbrap", "argb": "gbrap", "abgr": "gbrap",
    "rgb48le": "gbrp16le", "rgb48be": "gbrp16le", "rgba64le": "gbrap16le",
    "rgba64be": "gbrap16le", "gray10be": "gray10le", "gray16be": "gray16le",
}  # fmt: skip
_MATRIX_NAMES = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020"}
MATRIX_TAGS = {"bt709": 1, "bt601": 6, "bt2020": 9}


def coding_of(name: str, tags: ColorTags, height: int) -> Coding:
    """The coding of an FFmpeg pixel format.

    An untagged matrix is BT.601 up to 576 lines and BT.709 above, as players assume.
    Raises BridgeError unsupported_format.
    """
    planar = _REARRANGED.get(name, name)
    if found := _GBR.match(planar):
        return RgbCoding(int(found[2] or 8))
    matrix = _MATRIX_NAMES.get(tags.matrix, "bt601" if height <= 576 else "bt709")
    if found := _GRAY.match(planar):
        # Untagged gray is full range, as FFmpeg's own conversions take it.
        return YcbcrCoding(int(found[1] or 8), tags.range != 1, matrix, gray=True)
    if found := _YUV.match(planar):
        shift_y, shift_x = _SHIFTS[found[3]]
        return YcbcrCoding(
            int(found[4] or 8),
            tags.range == 2 or bool(found[2]),
            matrix,
            shift_y,
            shift_x,
            siting="center" if found[2] else "left",
            alpha=bool(found[1]),
        )
    raise BridgeError(
        "unsupported_format",
        f"Expected planar YCbCr, gray or RGB up to 16 bits, got pixel format {name}.",
        hint="Convert the clip to ProRes, DNxHR or an image sequence first.",
    )


def pixel_format(coding: Coding, *, alpha: bool = False) -> str:
    """The FFmpeg pixel format of a coding."""
    depth = "" if coding.bits == 8 else f"{coding.bits}le"
    if isinstance(coding, RgbCoding):
        return f"gbr{'a' if alpha else ''}p{depth}"
    if coding.gray:
        return f"gray{depth}"
    scheme = next(k for k, v in _SHIFTS.items() if v == (coding.shift_y, coding.shift_x))
    return f"yuv{'a' if coding.alpha else ''}{scheme}p{depth}"


def picture_of(frame: Any, coding: Coding) -> Picture:
    """Copy the planes of a decoded frame; not a code changes."""
    if frame.format.name in _REARRANGED:
        frame = frame.reformat(format=_REARRANGED[frame.format.name])
    planes = [_plane(frame, i, coding.dtype) for i in range(len(frame.planes))]
    if isinstance(coding, RgbCoding):
        order = [planes[2], planes[0], planes[1], *planes[3:]]
        names = ("R", "G", "B", "A")[: len(order)]
        return RgbPicture(np.stack(order, axis=2), names, (0, 1, 2), coding)
    if coding.gray:
        return YcbcrPicture(planes[0], None, None, None, coding)
    return YcbcrPicture(
        planes[0], planes[1], planes[2], planes[3] if coding.alpha else None, coding
    )


def av_frame(picture: Picture) -> Any:
    """An FFmpeg frame with the codes of a picture."""
    height, width = picture.size
    if isinstance(picture, RgbPicture):
        red, green, blue = (picture.pixels[..., i] for i in picture.color)
        alpha = picture.pixels[..., 3] if picture.pixels.shape[2] > 3 else None
        planes = [green, blue, red] + ([] if alpha is None else [alpha])
        name = pixel_format(picture.coding, alpha=alpha is not None)
    else:
        parts = (picture.y, picture.cb, picture.cr, picture.alpha)
        planes = [plane for plane in parts if plane is not None]
        name = pixel_format(picture.coding)
    frame = av.VideoFrame(width, height, name)
    for index, plane in enumerate(planes):
        _view(frame, index, plane.dtype)[:, : plane.shape[1]] = plane
    return frame


def _plane(frame: Any, index: int, dtype: Any) -> Array:
    width = frame.planes[index].width
    copied: Array = _view(frame, index, dtype)[:, :width].copy()
    return copied


def _view(frame: Any, index: int, dtype: Any) -> Array:
    """The memory of one plane as rows of line_size bytes, padding included."""
    plane = frame.planes[index]
    items = plane.line_size // np.dtype(dtype).itemsize
    flat: Array = np.frombuffer(plane, dtype)
    return flat[: plane.height * items].reshape(plane.height, items)
