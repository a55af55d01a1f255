"""One image file in or out through OpenImageIO, every channel in its native depth."""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio

from bridge_server.media import timecode
from bridge_server.media.frame import Array, PlateFrame, RgbCoding, RgbPicture
from host_plugins.wire.errors import BridgeError

#: Compressions that change values; a file that used one is written with zip unless asked for.
LOSSY = frozenset({"b44", "b44a", "dwaa", "dwab", "pxr24", "jpeg", "htj2k"})
WRITABLE = frozenset({".exr", ".dpx", ".tif", ".tiff", ".png"})
_FOREIGN = ("oiio:", "dpx:", "tiff:", "png:", "openexr:", "jpeg:", "compression", "ICCProfile")
_INTEGERS = {np.dtype(np.uint8): 8, np.dtype(np.uint16): 16}
_FLOATS = {np.dtype(np.float16): 16, np.dtype(np.float32): 32}


#: OpenImageIO writes the time of day into these unless told one; equal runs give equal bytes, so
#: where the plate has no time the epoch stands for none.
_DATED = (".exr", ".tif", ".tiff", ".dpx")
_NO_TIME = "1970:01:01 00:00:00"


@dataclass(frozen=True)
class Header:
    """The header of the file that a frame came from, for the writer."""

    spec: Any
    suffix: str


@dataclass(frozen=True)
class ImageFile:
    """A decoded file. box: (top, left, height, width) of the pixels, display: of the display
    window, both in the file's own pixel coordinates."""

    picture: RgbPicture
    header: Header
    parts: tuple[tuple[Any, Array], ...]
    box: tuple[int, int, int, int]
    display: tuple[int, int, int, int]
    timecode: str | None
    pixel_aspect: Fraction
    rate: Fraction | None


@dataclass(frozen=True)
class ImageSettings:
    """How image files are written. compression: an OpenImageIO name, or "" to keep the plate's.

    metadata: text entries added to every header that can hold them. pixel_aspect, rate: written
    when the plate was no image file.
    """

    compression: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    pixel_aspect: float = 1.0
    rate: Fraction | None = None


def read_image(path: Path) -> ImageFile:
    """Read every channel and part of an image as stored.

    Alpha is never multiplied in or out. Raises BridgeError clip_unreadable when the file is
    missing, damaged or cut off, unsupported_format for deep images and 32-bit integers.
    """
    config = oiio.ImageSpec()
    config.attribute("oiio:UnassociatedAlpha", 1)
    source = oiio.ImageInput.open(str(path), config)
    if source is None:
        raise _unreadable(path, oiio.geterror())
    try:
        spec = source.spec()
        if spec.deep:
            raise BridgeError(
                "unsupported_format",
                f"{path} is a deep image.",
                hint="Flatten it before coloring (DeepToImage in Nuke).",
            )
        pixels = _read_part(source, path, 0)
        parts: list[tuple[Any, Array]] = []
        while source.seek_subimage(len(parts) + 1, 0):
            parts.append((source.spec(), _read_part(source, path, len(parts) + 1)))
    finally:
        source.close()
    return _image_file(path, spec, pixels, tuple(parts))


def write_image(path: Path, frame: PlateFrame, settings: ImageSettings) -> None:
    """Write a frame with an RgbPicture to `path`, over a temporary name in the same folder.

    Parts, metadata, data window, tiles and channel types of the plate come along where the format
    has a place for them. Raises BridgeError output_not_writable or disk_full.
    """
    target = oiio.ImageOutput.create(str(path))
    if target is None:
        raise BridgeError("unsupported_format", f"Cannot write images named {path.suffix}.")
    spec, pixels = _output(path, frame, settings, target)
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    parts = frame.parts if target.supports("multiimage") and path.suffix.lower() == ".exr" else ()
    try:
        specs = (spec, *(part for part, _ in parts))
        opened = target.open(str(temporary), specs) if parts else target.open(str(temporary), spec)
        done = opened and target.write_image(pixels)
        for part, part_pixels in parts:
            done = done and target.open(str(temporary), part, "AppendSubimage")
            done = done and target.write_image(part_pixels)
        reason = target.geterror()
        done = target.close() and done
        if not done or reason:
            raise _unwritable(path, reason or target.geterror())
        if path.suffix.lower() == ".dpx":
            _name_dpx(temporary, path.name)
        temporary.replace(path)
    except OSError as problem:
        raise _unwritable(path, str(problem), problem.errno) from problem
    finally:
        temporary.unlink(missing_ok=True)


def _name_dpx(path: Path, name: str) -> None:
    """Put the final name into the header (SMPTE 268M, bytes 36 to 135), not the temporary path."""
    field = name.encode("ascii", "replace")[:99].ljust(100, b"\0")
    with path.open("r+b") as file:
        file.seek(36)
        file.write(field)


def _read_part(source: Any, path: Path, part: int) -> Array:
    spec = source.spec()
    kind = oiio.FLOAT if len(set(spec.channelformats)) > 1 else spec.format
    pixels = source.read_image(part, 0, 0, spec.nchannels, kind)
    if pixels is None:
        raise _unreadable(path, source.geterror())
    array: Array = np.asarray(pixels)
    return array.reshape(spec.height, spec.width, spec.nchannels)


def _image_file(path: Path, spec: Any, pixels: Array, parts: Any) -> ImageFile:
    names = tuple(spec.channelnames)
    color = _color_channels(names)
    if pixels.dtype in _FLOATS:
        kinds = {str(spec.channelformat(channel)) for channel in color}
        bits = _FLOATS[pixels.dtype]
        coding = RgbCoding(bits, floating=True, half_color=bits == 32 and kinds == {"half"})
    elif pixels.dtype in _INTEGERS:
        bits = _INTEGERS[pixels.dtype]
        declared = spec.getattribute("oiio:BitsPerSample") or bits
        if 8 < declared < bits:
            pixels, bits = pixels >> (bits - declared), declared
        coding = RgbCoding(bits)
    else:
        raise BridgeError(
            "unsupported_format",
            f"{path} holds {spec.format} pixels.",
            hint="Use 8 or 16-bit integers, half or float.",
        )
    word = spec.getattribute("smpte:TimeCode", oiio.TypeDesc("timecode"))
    rate = spec.getattribute("FramesPerSecond", oiio.TypeDesc("rational")) or None
    decimal = spec.getattribute("dpx:FrameRate") or spec.getattribute("dpx:TemporalFrameRate")
    return ImageFile(
        RgbPicture(pixels, names, color, coding),
        Header(spec, path.suffix.lower()),
        parts,
        (spec.y, spec.x, spec.height, spec.width),
        (spec.full_y, spec.full_x, spec.full_height, spec.full_width),
        timecode.unpack(word[0]) if word else None,
        Fraction(spec.getattribute("PixelAspectRatio") or 1.0).limit_denominator(1000),
        Fraction(*rate) if rate and rate[1] else rate_from_decimal(decimal),
    )


def rate_from_decimal(decimal: float | None) -> Fraction | None:
    """The exact rate behind a decimal such as 23.976; None for none."""
    if not decimal or not 0 < decimal < 1e4:
        return None
    whole = round(decimal)
    ntsc = Fraction(whole * 1000, 1001)
    if abs(decimal - float(ntsc)) < abs(decimal - whole) and abs(decimal - float(ntsc)) < 5e-3:
        return ntsc
    return Fraction(decimal).limit_denominator(1001)


def _color_channels(names: tuple[str, ...]) -> tuple[int, int, int]:
    lower = [name.lower() for name in names]
    for wanted in (("r", "g", "b"), ("red", "green", "blue")):
        if all(name in lower for name in wanted):
            return lower.index(wanted[0]), lower.index(wanted[1]), lower.index(wanted[2])
    gray = next((lower.index(name) for name in ("y", "i", "gray") if name in lower), 0)
    if len(names) < 3 or "y" in lower:
        return gray, gray, gray
    return 0, 1, 2


def _output(
    path: Path, frame: PlateFrame, settings: ImageSettings, target: Any
) -> tuple[Any, Array]:
    """The header and the pixels to write: colors first where the picture says so."""
    picture = frame.picture
    if not isinstance(picture, RgbPicture):
        raise ValueError(f"expected an RgbPicture for an image file, got {picture.coding}")
    pixels, names = picture.pixels, picture.names
    header = frame.attributes if isinstance(frame.attributes, Header) else None
    source = header.spec if header else None
    known = (
        dict(zip(source.channelnames, source.channelformats, strict=True))
        if source is not None and source.channelformats
        else {}
    )
    if frame.chroma_layer is not None:
        pixels = np.concatenate((pixels, frame.chroma_layer.astype(pixels.dtype)), axis=2)
        names = (*names, "chroma.R", "chroma.G", "chroma.B")
    bits = picture.coding.bits
    if 8 < bits < 16 and not picture.coding.floating:
        pixels = (pixels << (16 - bits)) | (pixels >> (2 * bits - 16))
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], _kind(pixels))
    spec.channelnames = names
    alpha = next((i for i, name in enumerate(names) if name.lower() in ("a", "alpha")), -1)
    spec.alpha_channel = alpha
    if header:
        same = header.suffix == path.suffix.lower()
        _carry(source, spec, same=same, tiles=bool(target.supports("tiles")))
    if known and target.supports("channelformats"):
        color = known.get("R", known.get("Y", oiio.TypeDesc("half")))
        spec.channelformats = tuple(known.get(name, color) for name in names)
    if path.suffix.lower() == ".dpx":
        spec.attribute("oiio:BitsPerSample", bits)
    if settings.compression:
        spec.attribute("compression", settings.compression)
    elif (spec.getattribute("compression") or "").split(":")[0] in LOSSY:
        spec.attribute("compression", "zip")
    if header is None:
        spec.attribute("PixelAspectRatio", settings.pixel_aspect)
        _set_rate(spec, settings.rate)
    if frame.timecode:
        word = timecode.pack(frame.timecode)
        spec.attribute("smpte:TimeCode", oiio.TypeDesc("timecode"), (word, _user_bits(source)))
    if path.suffix.lower() in _DATED and spec.getattribute("DateTime") is None:
        spec.attribute("DateTime", _NO_TIME)
    for name, value in settings.metadata:
        spec.attribute(name, value)
    return spec, np.ascontiguousarray(pixels)


def _carry(source: Any, spec: Any, *, same: bool, tiles: bool) -> None:
    for entry in source.extra_attribs:
        if same or not entry.name.startswith(_FOREIGN):
            spec.attribute(entry.name, entry.type, entry.value)
    if not same and source.getattribute("oiio:UnassociatedAlpha"):
        spec.attribute("oiio:UnassociatedAlpha", 1)
    spec.erase_attribute("oiio:subimages")
    spec.x, spec.y = source.x, source.y
    spec.full_x, spec.full_y = source.full_x, source.full_y
    spec.full_width, spec.full_height = source.full_width, source.full_height
    if tiles and same:
        spec.tile_width, spec.tile_height = source.tile_width, source.tile_height
        spec.tile_depth = source.tile_depth


def _set_rate(spec: Any, rate: Fraction | None) -> None:
    if rate is not None:
        pair = (rate.numerator, rate.denominator)
        spec.attribute("FramesPerSecond", oiio.TypeDesc("rational"), pair)
        spec.attribute("dpx:FrameRate", float(rate))


def _user_bits(source: Any) -> int:
    if source is None:
        return 0
    word = source.getattribute("smpte:TimeCode", oiio.TypeDesc("timecode"))
    return int(word[1]) if word else 0


def _kind(pixels: Array) -> Any:
    names = {"uint8": oiio.UINT8, "uint16": oiio.UINT16, "float16": oiio.HALF}
    return names.get(pixels.dtype.name, oiio.FLOAT)


def _unreadable(path: Path, reason: str) -> BridgeError:
    return BridgeError(
        "clip_unreadable",
        f"Cannot read {path}: {reason or 'no reader knows this format'}.",
        hint="The file may be cut off or still being written; open it in an image viewer.",
    )


def _unwritable(path: Path, reason: str, number: int | None = None) -> BridgeError:
    folder = path.parent
    full = number == errno.ENOSPC or (folder.is_dir() and shutil.disk_usage(folder).free < 1 << 20)
    code = "disk_full" if full else "output_not_writable"
    return BridgeError(code, f"Cannot write {path}: {reason.strip() or 'unknown reason'}.")
