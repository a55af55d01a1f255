"""Color spaces of plates: from stored codes to light, to what the network sees, and back."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import PyOpenColorIO as ocio
import torch

from bridge_server.media.frame import Array, Floats, PlateInfo, RgbCoding
from host_plugins.wire.errors import BridgeError
from models.color import linear_to_srgb, srgb_to_linear

#: The config used when the user gives none and $OCIO is not set.
BUILTIN_CONFIG = "studio-config-v2.1.0_aces-v1.3_ocio-v2.3"
#: Display-encoded sRGB or Rec.709, handled without OCIO: the network's own space.
DISPLAY = "display"
#: Linear Rec.709, handled without OCIO; OCIO's own name for it.
LINEAR = "lin_rec709_srgb"
#: Published luma weights (Rec.709, Rec.2020, Display P3, ACES AP1 and AP0, BT.601).
_PUBLISHED = (
    (0.2126, 0.7152, 0.0722),
    (0.2627, 0.6780, 0.0593),
    (0.2289745641, 0.6917385218, 0.0792869141),
    (0.2722287168, 0.6740817658, 0.0536895174),
    (0.3439664498, 0.7281660966, -0.0721325464),
)
#: What the network sees is cut off here, so that half floats can carry it.
_BRIGHTEST = 100.0
#: Other names that people use for DISPLAY.
_DISPLAY_NAMES = frozenset({"display", "srgb", "rec709", "rec.709", "bt709"})
_LINEAR_NAMES = frozenset(
    {LINEAR, "linear", "lin_rec709", "lin_rec709_scene", "lin_srgb", "linear rec.709 (srgb)"}
)


@dataclass(frozen=True)
class Space:
    """One color space of one config. name: as the config knows it, or DISPLAY.

    weights: luma weights of its red, green and blue. black, white: its codes of linear 0 and 1.
    scene: scene-referred, so that codes above `white` are ordinary.
    """

    name: str
    config: str
    weights: tuple[float, float, float]
    black: float
    white: float
    scene: bool

    def to_linear(self, codes: Floats) -> Floats:
        """Codes to linear Rec.709. codes: (..., 3)."""
        if self.name == DISPLAY:
            return srgb_to_linear(torch.from_numpy(codes)).numpy()
        if self.name == LINEAR:
            return codes
        return _apply(_processor(self.config, self.name, "to"), codes)

    def from_linear(self, linear: Floats) -> Floats:
        """Linear Rec.709 to codes. linear: (..., 3)."""
        if self.name == DISPLAY:
            return linear_to_srgb(torch.from_numpy(linear)).numpy()
        if self.name == LINEAR:
            return linear
        return _apply(_processor(self.config, self.name, "from"), linear)


@dataclass(frozen=True)
class Spaces:
    """The spaces of one job.

    input: of the plate. output: of the result. view: "", or the name of a view of the config's
    sRGB display through which the network looks at the plate; "" is colorimetric.
    """

    input: Space
    output: Space
    view: str = ""

    @property
    def plain(self) -> bool:
        """Whether codes are what the network sees, without any conversion."""
        return self.input.name == DISPLAY and not self.view

    def gray_view(self, codes: Floats) -> Floats:
        """What the network sees of gray codes: display-encoded, 0..1 nominal, within +-100.

        codes: (H, W) float32, luma in the coding of the input space.
        """
        if self.plain:
            inside = codes.size == 0 or (codes.max() <= _BRIGHTEST and codes.min() >= -_BRIGHTEST)
            return codes if inside else _finite(codes, _BRIGHTEST)
        return np.take(_view_table(self), half_index(codes))

    def linear_luma(self, codes: Floats) -> Floats:
        """Linear luminance of gray codes of the input space, finite. codes: (H, W) float32."""
        return np.take(_linear_table(self.input), half_index(codes))

    def convert_luma(self, codes: Floats) -> Floats:
        """Gray codes of the input space as codes of the output space, exact when both are one."""
        if self.input == self.output:
            return codes
        linear = self.input.to_linear(np.repeat(codes[..., None], 3, axis=-1))
        return luma_of(self.output.from_linear(linear), self.output.weights)


def open_spaces(
    info: PlateInfo, *, input: str = "", output: str = "", view: str = "", config: str = ""
) -> Spaces:
    """Resolve the spaces of a job.

    input: "" takes default_space(info). output: "" is the input space. config: an OCIO file or
    built-in name; "" takes $OCIO, or the built-in studio config. Raises BridgeError bad_param with
    the nearest names the config has.
    """
    config = config or os.environ.get("OCIO", "") or BUILTIN_CONFIG
    space = find_space(input or default_space(info), config)
    result = find_space(output, config) if output else space
    if view:
        _known_view(config, view)
    return Spaces(space, result, view)


def default_space(info: PlateInfo) -> str:
    """The space of a plate of which the user says nothing.

    Movies: PQ and HLG by their tags, otherwise display. Image files: what they declare; floating
    point is linear Rec.709, integers are display-encoded.
    """
    if info.kind == "movie":
        named = {16: "rec2100_pq_display", 18: "rec2100_hlg_display", 8: LINEAR}
        return named.get(info.tags.transfer, DISPLAY)
    floating = isinstance(info.coding, RgbCoding) and info.coding.floating
    declared = info.space.lower()
    if declared in _LINEAR_NAMES or (declared.startswith("srgb") and not floating):
        return LINEAR if declared in _LINEAR_NAMES else DISPLAY
    if declared and not declared.startswith(("srgb", "scene_linear", "rec709", "unknown")):
        return info.space
    return LINEAR if floating else DISPLAY


@lru_cache(maxsize=32)
def find_space(name: str, config: str = BUILTIN_CONFIG) -> Space:
    """A space by its name, alias or role in a config. Raises BridgeError bad_param."""
    if name.lower() in _DISPLAY_NAMES:
        return Space(DISPLAY, config, _PUBLISHED[0], 0.0, 1.0, scene=False)
    if name.lower() in _LINEAR_NAMES:
        return Space(LINEAR, config, _PUBLISHED[0], 0.0, 1.0, scene=True)
    found = _config(config).getColorSpace(name)
    if found is None:
        raise BridgeError(
            "bad_param",
            f"The OCIO config has no color space {name!r}.",
            hint=f"Nearest names: {', '.join(_nearest(config, name))}.",
        )
    canonical = found.getName()
    gray = np.array([[0.0] * 3, [1.0] * 3], np.float32)
    codes = _apply(_processor(config, canonical, "from"), gray)
    black, white = float(codes[0].mean()), float(codes[1].mean())
    scene = found.getReferenceSpaceType() == ocio.REFERENCE_SPACE_SCENE
    scene = scene and found.getEncoding() not in ("sdr-video", "hdr-video")
    return Space(canonical, config, _weights(config, canonical, black, white), black, white, scene)


def luma_of(
    codes: Array, weights: tuple[float, float, float], channels: tuple[int, int, int] = (0, 1, 2)
) -> Floats:
    """Weighted sum of three channels as stored. codes: (..., C). Returns (...) float32."""
    red, green, blue = (as_float(codes[..., channel]) for channel in channels)
    # Written around green so that a neutral picture gives its own code exactly.
    with np.errstate(invalid="ignore", over="ignore"):
        luma: Floats = green + np.float32(weights[0]) * (red - green)
        luma += np.float32(weights[2]) * (blue - green)
    if not np.isfinite(luma).all():
        luma = np.where(np.isinf(green), green, luma)
    return luma


def as_float(plane: Array) -> Floats:
    """A plane as float32; half goes through torch, which converts it many times faster."""
    if plane.dtype == np.float16:
        widened: Floats = torch.from_numpy(np.require(plane, requirements="W")).float().numpy()
        return widened
    return plane.astype(np.float32, copy=False)


def half_index(codes: Floats) -> Array:
    """Index of each float32 value into a table over all half floats."""
    halves = torch.from_numpy(np.ascontiguousarray(codes)).half()
    index: Array = halves.numpy().view(np.uint16)
    return index


def _weights(config: str, name: str, black: float, white: float) -> tuple[float, float, float]:
    """Luma weights by what OCIO says of full red, green, blue; the published set if one is near."""
    primaries = np.full((3, 3), black, np.float32)
    np.fill_diagonal(primaries, white)
    linear = _apply(_processor(config, name, "to"), primaries)
    luminance = linear @ np.array(_PUBLISHED[0], np.float32)
    found = luminance / luminance.sum()
    nearest = min(_PUBLISHED, key=lambda known: float(np.abs(found - known).max()))
    if np.abs(found - nearest).max() < 0.012:
        return nearest
    return float(found[0]), float(1 - found[0] - found[2]), float(found[2])


@lru_cache(maxsize=8)
def _config(name: str) -> Any:
    try:
        if Path(name).is_file() or "://" in name:
            return ocio.Config.CreateFromFile(name)
        return ocio.Config.CreateFromBuiltinConfig(name)
    except ocio.Exception as problem:
        raise BridgeError(
            "bad_param",
            f"Cannot read the OCIO config {name}: {problem}",
            hint="Give a config.ocio file or a built-in config name.",
        ) from problem


@lru_cache(maxsize=64)
def _processor(config: str, name: str, direction: str) -> Any:
    """A CPU processor between a space and linear Rec.709, found through the interchange roles."""
    try:
        if direction == "to":
            made = ocio.Config.GetProcessorToBuiltinColorSpace(_config(config), name, LINEAR)
        else:
            made = ocio.Config.GetProcessorFromBuiltinColorSpace(LINEAR, _config(config), name)
    except ocio.Exception as problem:
        raise BridgeError(
            "bad_param",
            f"OCIO cannot relate {name!r} to linear Rec.709: {problem}",
            hint="The config needs the role aces_interchange or cie_xyz_d65_interchange.",
        ) from problem
    return made.getDefaultCPUProcessor()


def _view_processor(config: str, name: str, view: str) -> Any:
    display = _srgb_display(config)
    transform = ocio.DisplayViewTransform(src=name, display=display, view=view)
    return _config(config).getProcessor(transform).getDefaultCPUProcessor()


def _srgb_display(config: str) -> str:
    displays: list[str] = list(_config(config).getDisplays())
    return next((d for d in displays if "srgb" in d.lower()), displays[0])


def _known_view(config: str, view: str) -> None:
    views = list(_config(config).getViews(_srgb_display(config)))
    if view not in views:
        raise BridgeError(
            "bad_param",
            f"The OCIO config has no view {view!r} on {_srgb_display(config)}.",
            hint=f"It has: {', '.join(views)}.",
        )


def _nearest(config: str, name: str) -> list[str]:
    import difflib

    names = [DISPLAY, *_config(config).getColorSpaceNames()]
    lower = {each.lower(): each for each in names}
    close = difflib.get_close_matches(name.lower(), list(lower), n=4, cutoff=0.3)
    return [lower[each] for each in close] or names[:4]


def _apply(processor: Any, values: Floats) -> Floats:
    copied = np.array(values, np.float32, order="C")
    flat = copied.reshape(-1, 3)
    processor.apply(ocio.PackedImageDesc(flat, flat.shape[0], 1, 3))
    return copied


def _finite(values: Floats, limit: float) -> Floats:
    finite: Floats = np.clip(np.nan_to_num(values, nan=0.0), -limit, limit)
    return finite


def _all_halves() -> Floats:
    halves = np.arange(65536, dtype=np.uint32).astype(np.uint16).view(np.float16)
    return _finite(halves.astype(np.float32), 65504.0)


@lru_cache(maxsize=8)
def _linear_table(space: Space) -> Floats:
    gray = np.repeat(_all_halves()[:, None], 3, axis=1)
    linear = space.to_linear(gray)
    return luma_of(_finite(linear, 65504.0), _PUBLISHED[0])


@lru_cache(maxsize=8)
def _view_table(spaces: Spaces) -> Floats:
    """What the network sees of every half float."""
    if not spaces.view:
        return _finite(
            linear_to_srgb(torch.from_numpy(_linear_table(spaces.input))).numpy(), _BRIGHTEST
        )
    gray = np.repeat(_all_halves()[:, None], 3, axis=1)
    source = "sRGB - Texture" if spaces.input.name == DISPLAY else spaces.input.name
    seen = _apply(_view_processor(spaces.input.config, source, spaces.view), gray)
    return luma_of(_finite(seen, _BRIGHTEST), _PUBLISHED[0])
