"""Movies to frames and back for the Resolve plugin, which runs where there is no decoder."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import OpenImageIO as oiio
from av.video.reformatter import ColorRange, Colorspace

from host_plugins.wire.errors import BridgeError

#: AVCOL_SPC_UNSPECIFIED: such movies are Rec.709 from 720 lines on, Rec.601 below
_UNSPECIFIED = 2
_PRORES = {"profile": "4444", "vendor": "apl0"}


def unpack_movie(movie: Path, folder: Path, first: int, last: int) -> int:
    """Write frames first to last (from 0) as source.%06d.tif, 16-bit RGB; returns how many.

    Raises BridgeError clip_unreadable, frame_missing, output_not_writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        with av.open(str(movie)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number > last:
                    break
                if number >= first:
                    _write_tiff(folder / f"source.{number:06d}.tif", _rgb16(frame))
                    count += 1
    except (av.error.FFmpegError, OSError) as problem:
        raise BridgeError("clip_unreadable", f"Cannot read {movie}: {problem}") from None
    if count != last - first + 1:
        raise BridgeError(
            "frame_missing", f"expected frames {first} to {last} of {movie.name}, got {count}"
        )
    return count


def pack_movie(pattern: str, target: Path, first: int, last: int, rate: Fraction) -> Path:
    """Encode pattern % first to last (TIFF or EXR, encoded RGB) as ProRes 4444 in Rec.709.

    It appears whole or not at all. Raises BridgeError frame_missing, output_not_writable.
    """
    temporary = target.with_name(f".{target.stem}.part{target.suffix}")
    try:
        with av.open(str(temporary), "w", format="mov") as container:
            stream: Any = container.add_stream("prores_ks", rate, dict(_PRORES))
            context = stream.codec_context
            for number in range(first, last + 1):
                pixels = _read(Path(pattern % number))
                if number == first:
                    context.height, context.width = pixels.shape[:2]
                    context.pix_fmt, context.color_range = "yuv444p10le", 1
                    context.colorspace = context.color_primaries = context.color_trc = 1
                picture = av.VideoFrame.from_ndarray(pixels, format="rgb48le").reformat(
                    format="yuv444p10le",
                    dst_colorspace=Colorspace.ITU709,
                    dst_color_range=ColorRange.MPEG,
                )
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        temporary.replace(target)
    except (av.error.FFmpegError, OSError) as problem:
        raise BridgeError("output_not_writable", f"Cannot write {target}: {problem}") from None
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _rgb16(frame: Any) -> Any:
    """(H, W, 3) uint16, full range."""
    if frame.format.is_rgb or frame.colorspace != _UNSPECIFIED:
        return frame.reformat(format="rgb48le").to_ndarray()
    space = Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
    return frame.reformat(format="rgb48le", src_colorspace=space).to_ndarray()


def _write_tiff(path: Path, pixels: Any) -> None:
    height, width, channels = pixels.shape
    temporary = path.with_name(f".{path.stem}.part.tif")
    target: Any = oiio.ImageOutput.create(str(temporary))
    done = target.open(str(temporary), oiio.ImageSpec(width, height, channels, oiio.UINT16))
    done = done and target.write_image(np.ascontiguousarray(pixels)) and target.close()
    if not done:
        raise BridgeError("output_not_writable", f"Cannot write {path}: {target.geterror()}")
    temporary.replace(path)


def _read(path: Path) -> Any:
    """(H, W, 3) uint16. Raises BridgeError frame_missing."""
    source = oiio.ImageInput.open(str(path))
    if source is None:
        raise BridgeError("frame_missing", f"{path} is missing or damaged: {oiio.geterror()}")
    pixels = source.read_image(0, 0, 0, 3, oiio.UINT16)
    source.close()
    if pixels is None:
        raise BridgeError("frame_missing", f"{path} is damaged")
    return np.ascontiguousarray(pixels)
