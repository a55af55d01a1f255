"""Movies out: frames are encoded under a temporary name; audio, timecode and tags come along."""

from __future__ import annotations

import errno
import hashlib
import mmap
from collections.abc import Callable, Generator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from bridge_server.media.deliver import CODECS, Deliver, choose_codec, losses, movie_coding
from bridge_server.media.frame import Coding, ColorTags, PlateFrame, PlateInfo, YcbcrCoding
from bridge_server.media.movie_in import opened
from bridge_server.media.pixel_formats import MATRIX_TAGS, av_frame, pixel_format
from host_plugins.wire.errors import BridgeError

#: FFmpeg's AVFMT_FLAG_BITEXACT: Matroska's segment and tracks get no random names.
BITEXACT = 0x0400
#: SMPTE ST 330: label of a UMID of video and audio up to its length byte; 3 bytes of instance
#: number and 16 of material number follow, of which FFmpeg's last one tells packages apart.
_UMID = bytes.fromhex("060a2b340101010501010d0013")
_METADATA_BYTES = 64 << 20
#: (seconds in the output, packet) in the order of the file.
AudioPackets = Generator[tuple[Fraction, Any], None, None]


class MovieOutput:
    """Encodes frames in the order of the calls; one thread at a time.

    target: the coding that written frames must have. notes: statements for the job record.
    delivering: called with the finished file just before it gets its name. The same frames give
    the same bytes, in every run and on any number of cores.
    """

    def __init__(self, path: Path, info: PlateInfo, deliver: Deliver) -> None:
        """Open the encoder. Raises BridgeError unsupported_format, output_not_writable."""
        name = choose_codec(path, info, deliver)
        codec = CODECS[name]
        self.path = path
        self.target: Coding = movie_coding(name, info, deliver)
        self._info = info
        self._rate = info.rate or deliver.rate or Fraction(24)
        self._temporary = path.with_name(f".{path.stem}.part{path.suffix}")
        self._count = 0
        self._first_pts: int | None = None
        self._ticks = -1
        unbroken = len(info.frames) == info.frames[-1] - info.frames[0] + 1
        self._keeps_times = unbroken and path.suffix.lower() != ".mxf"
        self._end = Fraction(0)
        self._waiting: tuple[Fraction, Any] | None = None
        notes = list(losses(self.target, info, deliver, name))
        if info.rate is None and deliver.rate is None:
            notes.append("the plate has no frame rate; 24 is written")
        options = dict(codec.options)
        self.delivering: Callable[[Path], None] = lambda movie: None
        self._packets = hashlib.blake2b(digest_size=16)
        if name in ("h264", "hevc"):
            options["crf"] = str(deliver.quality)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container: Any = av.open(str(self._temporary), "w")
            if path.suffix.lower() == ".mkv":
                self._container.flags |= BITEXACT
            self._stream = self._container.add_stream(codec.encoder, self._rate, options)
            self._describe(info)
            for key, value in deliver.metadata.items():
                self._container.metadata[key] = value
            self._audio = self._open_audio(notes) if info.audio and deliver.audio else None
            self._container.start_encoding()
        except (av.error.FFmpegError, OSError, ValueError) as problem:
            with suppress(OSError):
                self._temporary.unlink()
            raise _refused(path, name, problem) from problem
        self.notes = tuple(notes)

    def write(self, frame: PlateFrame) -> None:
        """Encode the next frame. Raises BridgeError disk_full, output_not_writable.

        Raises ValueError when its coding is not `target`.
        """
        if frame.picture.coding != self.target:
            raise ValueError(f"expected frames in {self.target}, got {frame.picture.coding}")
        picture = av_frame(frame.picture)
        wanted = self._stream.codec_context.pix_fmt
        if picture.format.name != wanted:
            picture = picture.reformat(format=wanted)
        context = self._stream.codec_context
        picture.pts, picture.time_base = self._time(frame), context.time_base
        picture.color_range = context.color_range
        self._count += 1
        self._end = picture.pts * picture.time_base + 1 / self._rate
        try:
            self._mux(self._stream.encode(picture))
            self._mux_audio(self._end)
        except (av.error.FFmpegError, OSError) as problem:
            raise _unwritable(self.path, problem) from problem

    def finish(self) -> list[Path]:
        """Finalize what was written and give it its name; also right after a cancel.

        Returns the files made: none when no frame was written.
        """
        if not self._count:
            self.abort()
            return []
        try:
            self._mux(self._stream.encode(None))
            complete = self._info.whole and self._count == len(self._info.frames)
            self._mux_audio(None if complete else self._end)
            self._close()
            if self.path.suffix.lower() == ".mxf":
                _name_material(self._temporary, self._packets.digest())
            self.delivering(self._temporary)
            self._temporary.replace(self.path)
        except (av.error.FFmpegError, OSError) as problem:
            self.abort()
            raise _unwritable(self.path, problem) from problem
        return [self.path]

    def abort(self) -> None:
        """Drop everything that was written."""
        with suppress(av.error.FFmpegError, OSError):
            self._close()
        self._temporary.unlink(missing_ok=True)

    def _describe(self, info: PlateInfo) -> None:
        context = self._stream.codec_context
        context.height, context.width = info.height, info.width
        alpha = any(name.lower() in ("a", "alpha") for name in info.channels)
        name = pixel_format(self.target, alpha=alpha)
        #: FFV1 keeps 8-bit RGB only in packed order.
        context.pix_fmt = {"gbrp": "bgr0", "gbrap": "bgra"}.get(name, name)
        context.sample_aspect_ratio = info.pixel_aspect
        context.thread_type = "AUTO"
        context.time_base = 1 / self._rate
        if self._keeps_times:
            # Fine enough for frames that come at odd times; whole ticks for those that do not.
            ticks = self._rate.numerator * -(-10000 // self._rate.numerator)
            context.time_base = Fraction(1, ticks)
        self._tag(context, info.tags)
        if info.rotation:
            self._stream.set_display_rotation(info.rotation)
        if info.timecode:
            self._stream.metadata["timecode"] = info.timecode

    def _tag(self, context: Any, tags: ColorTags) -> None:
        """The plate's color tags; a YCbCr movie always says its matrix."""
        if isinstance(self.target, YcbcrCoding):
            own = MATRIX_TAGS[self.target.matrix]
            context.color_range = 2 if self.target.full_range else 1
            context.colorspace = tags.matrix if tags.matrix not in (0, 2) else own
            context.color_primaries = tags.primaries if tags.primaries != 2 else own
            context.color_trc = tags.transfer if tags.transfer != 2 else 1
        else:
            context.color_primaries, context.color_trc = tags.primaries, tags.transfer

    def _time(self, frame: PlateFrame) -> int:
        """Ticks of a frame: its place in a constant rate, unless the plate's time is elsewhere."""
        position = Fraction(self._count)
        if self._keeps_times and frame.pts is not None and frame.time_base is not None:
            if self._first_pts is None:
                self._first_pts = frame.pts
            place = (frame.pts - self._first_pts) * frame.time_base * self._rate
            position = position if abs(place - position) < Fraction(1, 2) else place
        ticks: Fraction = position / self._rate / self._stream.codec_context.time_base
        self._ticks = max(round(ticks), self._ticks + 1)
        return self._ticks

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            self._packets.update(packet)
            packet.stream = self._stream
            self._container.mux(packet)

    def _open_audio(self, notes: list[str]) -> AudioPackets | None:
        frames = self._info.frames
        if len(frames) != frames[-1] - frames[0] + 1:
            notes.append("audio is left out: the frames chosen are not one unbroken run")
            return None
        copies = {}
        with opened(Path(self._info.path)) as source:
            for stream in source.streams.audio:
                if stream.codec_context.name in self._container.supported_codecs:
                    copies[stream.index] = self._container.add_stream_from_template(stream)
                else:
                    notes.append(
                        f"audio left out: {stream.codec_context.name} does not fit"
                        f" {self.path.suffix}"
                    )
        start = frames[0] / self._rate
        return _audio_packets(Path(self._info.path), copies, start) if copies else None

    def _mux_audio(self, until: Fraction | None) -> None:
        """Copy audio packets that start before `until` seconds of the output; None: all."""
        while self._audio is not None:
            waiting = self._waiting or next(self._audio, None)
            if waiting is None:
                self._audio = None
                return
            if until is not None and waiting[0] >= until:
                self._waiting = waiting
                return
            self._container.mux(waiting[1])
            self._waiting = None

    def _close(self) -> None:
        if self._audio is not None:
            self._audio.close()
            self._audio = None
        self._container.close()


def _audio_packets(path: Path, copies: dict[int, Any], start: Fraction) -> AudioPackets:
    """The audio from `start` seconds of the source on."""
    with opened(path) as source:
        streams = [source.streams[index] for index in copies]
        for packet in source.demux(streams):
            if packet.pts is None or packet.time_base is None:
                continue
            seconds = packet.pts * packet.time_base - start
            # Negative times at the start are the priming of the codec and belong to it.
            if seconds < 0 < start:
                continue
            shift = round(start / packet.time_base)
            packet.pts -= shift
            packet.dts = packet.pts if packet.dts is None else packet.dts - shift
            packet.stream = copies[packet.stream.index]
            yield seconds, packet


def _name_material(movie: Path, name: bytes) -> None:
    """Give an MXF file the material number `name` (16 bytes) in place of FFmpeg's random one.

    It is that of what the file holds: other pictures get another one, as media databases expect.
    """
    with movie.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        at = content.find(_UMID)
        old = content[at : at + len(_UMID) + 18]
        for start in (0, max(0, len(content) - _METADATA_BYTES)):  # in the header and the footer
            at = content.find(old, start, start + _METADATA_BYTES)
            while at >= 0:
                content[at + len(_UMID) : at + len(_UMID) + 18] = name[:3] + name[:15]
                at = content.find(old, at + 1, start + _METADATA_BYTES)


def _refused(path: Path, codec: str, problem: Exception) -> BridgeError:
    """The folder is at fault when the system says so, otherwise the format."""
    if isinstance(problem, OSError) and not isinstance(problem, av.error.ArgumentError):
        return _unwritable(path, problem)
    return BridgeError(
        "unsupported_format",
        f"Cannot write {codec} to {path.name}: {problem}.",
        hint="The size, the frame rate or the depth does not suit it; ffv1 in .mkv takes any.",
    )


def _unwritable(path: Path, problem: Exception) -> BridgeError:
    full = getattr(problem, "errno", None) == errno.ENOSPC
    code = "disk_full" if full else "output_not_writable"
    return BridgeError(code, f"Cannot write {path}: {problem}.")
