"""What a movie under way holds so far, in a hidden file beside it, so that a killed job goes on.

A movie cannot be taken up in the middle of its encoding; its color can. Every finished frame's
color planes are appended here, losslessly packed, and a later run of the same job feeds them to
a new encoder. A record is whole or it is cut off: each has a length and a checksum.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import numpy as np

from bridge_server.media.frame import Array, YcbcrCoding, YcbcrPicture
from bridge_server.media.pixel_formats import av_frame, picture_of, pixel_format
from host_plugins.wire.errors import BridgeError

#: a journal stops growing here; it then holds the first part of the movie
LARGEST_BYTES = 64 * 1024**3
#: with less room than this the journal gives its own back to the movie
LEAST_FREE_BYTES = 256 * 1024**2
#: kind, number, bytes of the payload, CRC-32 of all three and the payload
_HEAD = struct.Struct("<cQQI")
_KEY, _FRAME, _DELIVERED = b"K", b"F", b"D"


def journal_path(output: Path) -> Path:
    """Where the journal of a movie lies."""
    return output.with_name(f".{output.name}.chromabridge-journal")


class Journal:
    """The journal of one output, held by one process. Belongs to one thread at a time.

    count: frames that it holds, the first ones of the movie. trouble: why it stopped growing or
    was given up, "" while all is well; nothing that goes wrong with it ends the job.
    """

    def __init__(self, output: Path) -> None:
        """Open what an earlier run left, or an empty one.

        Raises BridgeError `output_not_writable` when another run is making this movie; OSError
        where there can be no journal at all.
        """
        self.path = journal_path(output)
        self.trouble = ""
        self._key = ""
        self._frames: list[tuple[int, int]] = []
        self._delivered: list[tuple[int, int]] = []
        self._packers: dict[tuple[int, ...], _Packer] = {}
        output.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        self._file: IO[bytes] | None = os.fdopen(descriptor, "r+b")
        try:
            _lock(self._file)
        except OSError:
            self._file.close()
            raise BridgeError(
                "output_not_writable",
                f"another run is making {output} at this moment",
                hint="Wait for it, or choose another name.",
            ) from None
        self._end = self._read_all(self._file)

    @property
    def count(self) -> int:
        return len(self._frames)

    def fits(self, key: str) -> bool:
        """Whether it was begun for this key."""
        return self._key == key

    def begin(self, key: str) -> None:
        """Go on with what it holds for this key; what it holds for another one is dropped."""
        if self.fits(key) or self._file is None:
            return
        self._key, self._end = key, 0
        self._frames.clear()
        self._delivered.clear()
        try:
            self._file.truncate(0)
            self._append(_KEY, 0, key.encode())
        except OSError as error:
            self._give_up(f"no journal can be written: {error}")

    def add(self, color: Array, bits: int) -> None:
        """Keep the next frame's color: (rows, width) integer codes of so many bits."""
        if self.trouble or self._file is None:
            return
        try:
            if shutil.disk_usage(self.path.parent).free < LEAST_FREE_BYTES:
                self._give_up(f"less than {LEAST_FREE_BYTES >> 20} MiB are free on its disk")
                return
            payload = struct.pack("<III", *color.shape, bits) + self._packer(
                color.shape, bits
            ).pack(color)
            if self._end + len(payload) > LARGEST_BYTES:
                self.trouble = (
                    f"the journal is full: a run that is killed goes on from frame {self.count} of"
                    " the movie"
                )
                return
            at = self._append(_FRAME, self.count, payload)
            self._frames.append((at, len(payload)))
        except (OSError, av.error.FFmpegError) as error:
            self._give_up(str(error))

    def read(self) -> Iterator[Array]:
        """The color of every frame that it held when this was called, in order."""
        for at, size in list(self._frames):
            assert self._file is not None
            self._file.seek(at)
            payload = self._file.read(size)
            rows, width, bits = struct.unpack_from("<III", payload)
            yield self._packer((rows, width), bits).unpack(payload[12:])

    def delivering(self, movie: Path) -> None:
        """Note that this file, whole, is about to get the output's name."""
        if self._file is None:
            return
        facts = movie.stat()
        told = json.dumps([facts.st_size, facts.st_mtime_ns]).encode()
        try:
            self._append(_DELIVERED, self.count, told)
        except OSError as error:
            self._give_up(str(error))

    def delivered(self, movie: Path) -> bool:
        """Whether this file is one that the job itself put there, unfinished or just finished."""
        facts = movie.stat()
        return (facts.st_size, facts.st_mtime_ns) in self._delivered

    def close(self) -> None:
        """Keep it for a later run; one that holds nothing goes."""
        if self._file is None:
            return
        if not self.count:
            self.remove()
            return
        self._file.close()
        self._file = None

    def remove(self) -> None:
        """The movie is whole, or the journal is given up."""
        if self._file is not None:
            self._file.close()  # first: an open file cannot be removed on Windows
            self._file = None
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    # --- records ---

    def _append(self, kind: bytes, number: int, payload: bytes) -> int:
        """Returns where the payload lies. Raises OSError, with nothing half-written counted."""
        assert self._file is not None
        self._file.seek(self._end)
        self._file.write(_head(kind, number, payload) + payload)
        self._file.flush()
        at = self._end + _HEAD.size
        self._end = at + len(payload)
        return at

    def _read_all(self, file: IO[bytes]) -> int:
        """Take in all whole records and cut off what follows them; returns where they end."""
        end = 0
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            kind, number, size, _ = _HEAD.unpack(head)
            payload = file.read(min(size, LARGEST_BYTES)) if size < 1 << 31 else b""
            if len(payload) != size or head != _head(kind, number, payload):
                break
            if (kind == _KEY) != (end == 0) or (kind == _FRAME and number != self.count):
                break
            if kind == _KEY:
                self._key = payload.decode()
            elif kind == _FRAME:
                self._frames.append((end + _HEAD.size, size))
            else:
                told = json.loads(payload)
                self._delivered.append((int(told[0]), int(told[1])))
            end += _HEAD.size + size
        file.truncate(end)
        return end

    def _give_up(self, why: str) -> None:
        self.trouble = f"a run that is killed begins this movie anew: {why}"
        self.remove()

    def _packer(self, shape: tuple[int, ...], bits: int) -> _Packer:
        key = (*shape, bits)
        if key not in self._packers:
            self._packers[key] = _Packer(shape[0], shape[1], bits)
        return self._packers[key]


class _Packer:
    """Planes of integer codes to bytes and back by FFmpeg's ffvhuff, a fast lossless codec.

    It wants three planes: the rows are dealt to them in thirds, the last one filled up.
    """

    def __init__(self, rows: int, width: int, bits: int) -> None:
        self._rows, self._width = rows, width
        self._third = -(-rows // 3)
        self._coding = YcbcrCoding(bits, full_range=True)
        self._encoder = self._context("w")
        self._encoder.time_base = Fraction(1, 25)
        self._encoder.options = {"pred": "median"}
        self._encoder.open()
        self._decoder = self._context("r")
        self._decoder.extradata = self._encoder.extradata

    def pack(self, color: Array) -> bytes:
        filled = np.zeros((3 * self._third, self._width), self._coding.dtype)
        filled[: self._rows] = color
        y, cb, cr = filled.reshape(3, self._third, self._width)
        frame = av_frame(YcbcrPicture(y, cb, cr, None, self._coding))
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        return b"".join(bytes(packet) for packet in self._encoder.encode(frame))

    def unpack(self, data: bytes) -> Array:
        (frame,) = self._decoder.decode(av.Packet(data))
        picture = picture_of(frame, self._coding)
        assert isinstance(picture, YcbcrPicture)
        assert picture.cb is not None
        assert picture.cr is not None
        color: Array = np.concatenate((picture.y, picture.cb, picture.cr))[: self._rows]
        return color

    def _context(self, mode: str) -> Any:
        context: Any = av.CodecContext.create("ffvhuff", mode)
        context.width, context.height = self._width, self._third
        context.pix_fmt = pixel_format(self._coding)
        context.thread_count = 1
        return context


def _head(kind: bytes, number: int, payload: bytes) -> bytes:
    check = zlib.crc32(payload, zlib.crc32(_HEAD.pack(kind, number, len(payload), 0)))
    return _HEAD.pack(kind, number, len(payload), check)


def _lock(file: IO[bytes]) -> None:
    """The operating system frees it when this process dies. Raises OSError."""
    if os.name == "nt":
        import msvcrt

        file.seek(1 << 62)  # behind all records: a locked region cannot be read by others
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        file.seek(0)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
