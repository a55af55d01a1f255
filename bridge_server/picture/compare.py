"""Compare a result with its plate: did anything but color change?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch

from bridge_server.media.frame import Array, Coding, Floats, PlateFrame, RgbCoding, RgbPicture
from bridge_server.media.images import ImageSettings, write_image
from bridge_server.media.plate import Plate, open_plate
from bridge_server.picture.luma import plate_luma
from bridge_server.picture.spaces import Spaces, open_spaces
from bridge_server.picture.view import display_rgb
from models.geometry import resize, working_size

#: Relative luma error of float that counts as exact.
FLOAT_TOLERANCE = 1e-5
_PICTURE_SIDE = 640


@dataclass(frozen=True)
class Side:
    """What one of the two clips is."""

    path: str
    frames: int
    height: int
    width: int
    rate: Fraction | None
    timecode: str | None
    coding: Coding


@dataclass(frozen=True)
class Comparison:
    """The differences between a plate and a result.

    unit: what a deviation counts: "code" of the coarser of the two, or "relative" for float (of
    the luma, near black of 0.01). max_deviation, mean_deviation: of luma, in units. worst_frame:
    where the largest is. tolerance: the largest deviation that still is "exact", in units.
    findings: what differs beyond color, as sentences; empty when only color changed.
    """

    plate: Side
    result: Side
    unit: str
    max_deviation: float
    mean_deviation: float
    worst_frame: int | None
    tolerance: float
    findings: tuple[str, ...]

    @property
    def only_color_changed(self) -> bool:
        return not self.findings


def compare(
    plate: str | Path,
    result: str | Path,
    *,
    frames: str | Sequence[int] | None = None,
    space: str = "",
    config: str = "",
    picture: str | Path | None = None,
) -> Comparison:
    """Compare luma, size, length, rate and timecode of two clips frame by frame.

    frames: of the plate. space: of both (see open_spaces). picture: where to write a PNG with
    plate, result and luma deviation (64 times enlarged) of the worst frame. Raises BridgeError as
    open_plate does.
    """
    before, after = open_plate(plate, frames), open_plate(result)
    spaces = open_spaces(before.info, input=space, config=config)
    step, unit, tolerance = _unit(before.info.coding, after.info.coding)
    findings = _differences(before, after)
    largest, total, count, worst = 0.0, 0.0, 0, None
    same_size = (before.info.height, before.info.width) == (after.info.height, after.info.width)
    if same_size:
        for left, right in zip_longest(before, after):
            if left is None or right is None:
                break
            deviation = _deviation(left, right, spaces, step)
            total, count = total + float(deviation.mean(dtype=np.float64)), count + 1
            if worst is None or float(deviation.max()) > largest:
                largest, worst = float(deviation.max()), (left, right)
        if largest > tolerance:
            where = f" at frame {worst[0].index}" if worst else ""
            findings.append(
                f"luma deviates by up to {largest:.3g} {unit}{where}; {tolerance:.3g} is the limit"
            )
    if picture is not None and worst is not None:
        _write_picture(Path(picture), worst[0], worst[1], spaces, step)
    return Comparison(
        _side(before),
        _side(after),
        unit,
        largest,
        total / max(count, 1),
        worst[0].index if worst else None,
        tolerance,
        tuple(findings),
    )


def describe(comparison: Comparison) -> list[str]:
    """The comparison as lines of text for a terminal or a job record."""
    lines = []
    for name, side in (("plate", comparison.plate), ("result", comparison.result)):
        rate = f"{float(side.rate):.3f} fps" if side.rate else "no rate"
        lines.append(
            f"{name:7}{side.path}: {side.frames} frames, {side.width}x{side.height}, {rate},"
            f" timecode {side.timecode or 'none'}, {_depth(side.coding)}"
        )
    unit = "codes" if comparison.unit == "code" else "of its value"
    lines.append(
        f"luma   deviates by at most {comparison.max_deviation:.3g}"
        f" and on average {comparison.mean_deviation:.3g} {unit}"
        f" (exact is up to {comparison.tolerance:.3g})"
    )
    if comparison.worst_frame is not None and comparison.max_deviation > 0:
        lines.append(f"       most at frame {comparison.worst_frame}")
    lines.extend(f"differs {finding}" for finding in comparison.findings)
    if comparison.only_color_changed:
        lines.append("only color changed")
    return lines


def _depth(coding: Coding) -> str:
    if isinstance(coding, RgbCoding):
        return f"{coding.bits}-bit {'float' if coding.floating else 'integer'} RGB"
    return f"{coding.bits}-bit YCbCr"


def _unit(before: Coding, after: Coding) -> tuple[float, str, float]:
    """Size of a unit (0 for relative), its name, and the tolerance in units."""
    steps = [_code_step(coding) for coding in (before, after)]
    step = max(steps)
    if step > 0:
        planes = type(before) is type(after) and not isinstance(before, RgbCoding)
        same = planes and before == after
        return step, "code", 0.0 if same else 1.0
    halves = any(isinstance(c, RgbCoding) and c.color_bits == 16 for c in (before, after))
    # Half has 11 significant bits; each channel is rounded on its own.
    return 0.0, "relative", 2.0**-10 if halves else FLOAT_TOLERANCE


def _code_step(coding: Coding) -> float:
    if isinstance(coding, RgbCoding):
        return 0.0 if coding.floating else 1.0 / coding.peak
    return 1.0 / coding.luma_span


def _deviation(left: PlateFrame, right: PlateFrame, spaces: Spaces, step: float) -> Floats:
    before = plate_luma(left.picture, spaces.input)
    after = plate_luma(right.picture, spaces.input)
    with np.errstate(invalid="ignore"):
        difference = np.abs(after - before)
    difference = np.where(_same_special(before, after), np.float32(0), difference)
    if step > 0:
        codes: Floats = (difference / np.float32(step)).astype(np.float32)
        codes[codes < 0.01] = 0.0  # rounding of float32 itself
        return codes
    largest = np.maximum(np.abs(before), np.float32(0.01))
    found = difference / np.where(np.isfinite(largest), largest, np.float32(1))
    return found.astype(np.float32)


def _same_special(before: Floats, after: Floats) -> Array:
    same: Array = (np.isnan(before) & np.isnan(after)) | (before == after)
    return same


def _differences(before: Plate, after: Plate) -> list[str]:
    said = []
    for name in ("height", "width", "rate", "pixel_aspect", "timecode", "audio", "rotation"):
        was, now = getattr(before.info, name), getattr(after.info, name)
        if was != now and was is not None:
            said.append(f"{name} was {was}, is {now}")
    if len(before.info.frames) != len(after.info.frames):
        said.append(f"{len(before.info.frames)} frames became {len(after.info.frames)}")
    elif before.info.kind == after.info.kind == "sequence":
        was, now = list(before.info.frames), list(after.info.frames)
        if was != now:
            said.append(f"frame numbers began at {was[0]}, begin at {now[0]}")
    return said


def _side(plate: Plate) -> Side:
    info = plate.info
    return Side(
        info.path, len(info.frames), info.height, info.width, info.rate, info.timecode, info.coding
    )


def _write_picture(
    path: Path, left: PlateFrame, right: PlateFrame, spaces: Spaces, step: float
) -> None:
    deviation = _deviation(left, right, spaces, step)
    scale = 64.0 / 255.0 if step > 0 else 64.0
    shown = [
        display_rgb(left.picture, spaces.input),
        display_rgb(right.picture, spaces.input),
        np.repeat(np.clip(deviation * scale, 0, 1)[..., None], 3, axis=2).astype(np.float32),
    ]
    small = []
    for each in shown:
        planes = torch.from_numpy(np.ascontiguousarray(each)).permute(2, 0, 1)[None]
        small.append(resize(planes, *working_size(each.shape[0], each.shape[1], _PICTURE_SIDE)))
    strip = torch.cat(small, 3)[0].permute(1, 2, 0)
    pixels = (strip * 255).round().clamp(0, 255).byte().numpy()
    made = RgbPicture(pixels, ("R", "G", "B"), (0, 1, 2), RgbCoding(8))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, PlateFrame(left.index, made), ImageSettings())
