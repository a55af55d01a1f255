"""Movies in: what a container declares, and its frames decoded one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from bridge_server.media import timecode
from bridge_server.media.frame import ColorTags, PlateFrame, PlateInfo, RgbPicture
from bridge_server.media.pixel_formats import coding_of, picture_of
from bridge_server.media.sequences import parse_frames
from host_plugins.wire.errors import BridgeError

#: FFmpeg's AVFieldOrder.
_FIELD_ORDERS = {0: "unknown", 1: "progressive", 2: "tt", 3: "bb", 4: "tb", 5: "bt"}
_DAMAGE = "The file may be cut off or still being written; play it in a media player."


@dataclass(frozen=True)
class Movie:
    """A movie plate; every iteration decodes the file anew."""

    info: PlateInfo

    def __iter__(self) -> Iterator[PlateFrame]:
        """Decode the chosen frames in order. Raises BridgeError clip_unreadable, interlaced."""
        return _decode(self.info, list(self.info.frames))

    def read(self, index: int) -> PlateFrame:
        """Decode one frame. Raises BridgeError frame_missing."""
        return next(_decode(self.info, [index]))


def open_movie(path: Path, frames: str | Sequence[int] | None) -> Movie:
    """Read what a movie declares. Frames are numbered from 0.

    Raises BridgeError clip_unreadable, interlaced, frame_missing, unsupported_format.
    """
    with opened(path) as container:
        stream = video_stream(container, path)
        context = stream.codec_context
        order = _FIELD_ORDERS.get(int(context.field_order), "unknown")
        if order not in ("progressive", "unknown"):
            raise _interlaced(path)
        tags = ColorTags(
            int(context.color_primaries),
            int(context.color_trc),
            int(context.colorspace),
            int(context.color_range),
        )
        rate = stream.average_rate or stream.guessed_rate or Fraction(24)
        first = _look(container, stream, path)
        rotation = int(first.rotation)
        coding = coding_of(first.format.name, tags, first.height)
        picture = picture_of(first, coding)
        total = stream.frames or _count(container, stream)
        wanted = parse_frames(frames) if frames is not None else range(total)
        _check(path, wanted, total)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        start = stream.metadata.get("timecode") or container.metadata.get("timecode")
        if not start:
            start = next(
                (s.metadata["timecode"] for s in container.streams if "timecode" in s.metadata),
                None,
            )
        info = PlateInfo(
            path=str(path),
            kind="movie",
            height=context.height,
            width=context.width,
            frames=wanted,
            coding=coding,
            rate=Fraction(rate),
            pixel_aspect=Fraction(aspect) or Fraction(1),
            tags=tags,
            timecode=timecode.advance(start, wanted[0], rate) if start else None,
            field_order=order,
            rotation=rotation,
            channels=picture.names if isinstance(picture, RgbPicture) else (),
            audio=bool(container.streams.audio),
            codec=_codec_name(context),
            whole=frames is None,
            metadata=dict(container.metadata),
            notes=(f"players turn this movie by {rotation} degrees; the network sees it as stored",)
            if rotation
            else (),
        )
    return Movie(info)


def _codec_name(context: Any) -> str:
    """Our codec name where we have one (see movie_out), FFmpeg's otherwise."""
    name, profile = context.name, str(context.profile or "")
    if name == "prores":
        return "prores_4444" if "4444" in profile else "prores_422_hq"
    if name == "dnxhd":
        return "dnxhr_444" if "444" in profile else "dnxhr_hqx"
    return str(name)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A container for reading, closed at the end; FFmpeg's errors become BridgeError."""
    try:
        with av.open(str(path)) as container:
            yield container
    except FileNotFoundError as problem:
        raise BridgeError("clip_unreadable", f"There is no file {path}.") from problem
    except (av.error.FFmpegError, OSError) as problem:
        raise BridgeError(
            "clip_unreadable", f"Cannot read {path}: {problem}.", hint=_DAMAGE
        ) from problem


def video_stream(container: Any, path: Path) -> Any:
    """The first video stream that is no cover picture. Raises BridgeError clip_unreadable."""
    for stream in container.streams.video:
        if not stream.disposition & stream.disposition.attached_pic:
            return stream
    raise BridgeError("clip_unreadable", f"{path} holds no pictures.")


def _look(container: Any, stream: Any, path: Path) -> Any:
    """The first frame, for what only frames tell: rotation, channels, that it has no fields."""
    frame = next(container.decode(stream), None)
    if frame is None:
        raise BridgeError("clip_unreadable", f"{path} holds no frame that decodes.", hint=_DAMAGE)
    if frame.interlaced_frame:
        raise _interlaced(path)
    container.seek(0)
    return frame


def _count(container: Any, stream: Any) -> int:
    count = sum(1 for packet in container.demux(stream) if packet.size)
    container.seek(0)
    return count


def _check(path: Path, wanted: Sequence[int], total: int) -> None:
    outside = [frame for frame in wanted if not 0 <= frame < total]
    if outside or not wanted:
        raise BridgeError(
            "frame_missing",
            f"{path} has frames 0-{total - 1}, but {outside[0] if outside else 'none'} was wanted.",
            hint="Frames of a movie are counted from 0.",
        )


def _decode(info: PlateInfo, wanted: list[int]) -> Iterator[PlateFrame]:
    path, remaining = Path(info.path), set(wanted)
    if wanted != sorted(wanted):
        for index in wanted:
            yield from _decode(info, [index])
        return
    first = wanted[0]
    with opened(path) as container:
        stream = video_stream(container, path)
        stream.thread_type = "AUTO"
        for index, frame in _numbered(container, stream, first):
            if index not in remaining:
                continue
            if frame.interlaced_frame:
                raise _interlaced(path)
            coding = coding_of(frame.format.name, info.tags, frame.height)
            if coding != info.coding or (frame.height, frame.width) != (info.height, info.width):
                raise BridgeError(
                    "clip_unreadable",
                    f"Frame {index} of {path} is {frame.width}x{frame.height}"
                    f" {frame.format.name}, unlike the first.",
                    hint="Split the clip where its format changes.",
                )
            remaining.discard(index)
            code = (
                info.timecode
                and info.rate
                and timecode.advance(info.timecode, index - info.frames[0], info.rate)
            )
            yield PlateFrame(
                index,
                picture_of(frame, coding),
                pts=frame.pts,
                time_base=frame.time_base,
                timecode=code or None,
            )
            if not remaining:
                return
    raise BridgeError(
        "clip_unreadable", f"{path} ends before frame {min(remaining)}.", hint=_DAMAGE
    )


def _numbered(container: Any, stream: Any, first: int) -> Iterator[tuple[int, Any]]:
    """Decoded frames with their numbers, starting at or before `first`.

    A seek is used when the frames have constant duration, so that numbers follow from times.
    """
    rate, start = stream.average_rate, stream.start_time or 0
    constant = rate and stream.base_rate and rate == stream.base_rate
    if first < 25 or not constant:
        yield from enumerate(container.decode(stream))
        return
    container.seek(start + int((first - 1) / rate / stream.time_base), stream=stream)
    for frame in container.decode(stream):
        yield round((frame.pts - start) * stream.time_base * rate), frame


def _interlaced(path: Path) -> BridgeError:
    return BridgeError(
        "interlaced",
        f"{path} is interlaced; a frame mixes two moments.",
        hint="De-interlace it first (bwdif or your host's tool), or remove the pulldown from film.",
    )
