"""The plate's frames on their way to the server: files, planes, and a queue that hosts fill."""

from __future__ import annotations

import hashlib
import queue
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Protocol, Union

from host_plugins.client import Buffer, file_buffer
from host_plugins.wire.errors import BridgeError

_FIELD = re.compile(r"%(0?)(\d*)d|#+")
_EXR_MAGIC = b"\x76\x2f\x31\x01"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
#: chunks of a PNG that hold words and dates
_PNG_WORDS = (b"tEXt", b"zTXt", b"iTXt", b"tIME")
#: what of an EXR's header says how its pixels are to be read; dates and node hashes do not
_EXR_KEPT = (b"channels", b"compression", b"dataWindow", b"displayWindow", b"lineOrder", b"tiles")


class Plate(Protocol):
    """One frame of the plate."""

    @property
    def index(self) -> int:
        """The host's frame number."""

    @property
    def cut(self) -> bool:
        """This frame begins a new shot."""

    def buffer(self) -> Buffer:
        """Its pixels; may be asked for again. Raises BridgeError clip_unreadable."""

    def digest(self) -> bytes:
        """32 bytes that differ when the picture does."""


@dataclass(frozen=True)
class PlateFile:
    """A frame in a picture file (EXR, TIFF, PNG, DPX, JPEG), which travels as it is."""

    index: int
    path: Path
    cut: bool = False

    def buffer(self) -> Buffer:
        if not self.path.is_file():
            raise BridgeError("frame_missing", f"frame {self.index} is missing: {self.path}")
        return file_buffer(self.path)

    def digest(self) -> bytes:
        return hashlib.blake2b(_lasting(bytes(self.buffer().data)), digest_size=32).digest()


@dataclass(frozen=True)
class PlatePlane:
    """A frame as a luma plane in memory; see host_plugins.client.plane."""

    index: int
    plane: Buffer
    cut: bool = False

    def buffer(self) -> Buffer:
        return self.plane

    def digest(self) -> bytes:
        told = f"{self.plane.dtype}|{self.plane.shape}|"
        name = hashlib.blake2b(told.encode(), digest_size=32)
        name.update(self.plane.data)
        return name.digest()


class PlateQueue:
    """Frames that a host renders while the job runs: `put` from one thread, the job takes them.

    waiting: how many the job has not taken yet; a host stops rendering while it is large.
    """

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Union[Plate, BridgeError, None]] = queue.SimpleQueue()
        self._ended = False
        self._error: Optional[BridgeError] = None

    @property
    def waiting(self) -> int:
        return self._items.qsize()

    def put(self, plate: Plate) -> None:
        """Hand over the next frame, in the clip's order. Never blocks."""
        self._items.put(plate)

    def close(self, error: Optional[BridgeError] = None) -> None:
        """There are no more frames; with an error, the job fails with it after those it has."""
        self._items.put(error)

    def take(self, *, wait: bool) -> Optional[Plate]:
        """The next frame; None at the end, or when there is none yet and `wait` is false.

        With `wait`, the end raises the error that the queue was closed with.
        """
        if not self._ended:
            try:
                item = self._items.get(block=wait)
            except queue.Empty:
                return None
            if item is not None and not isinstance(item, BridgeError):
                return item
            self._ended, self._error = True, item
        if wait and self._error is not None:
            raise self._error
        return None

    @property
    def ended(self) -> bool:
        """The end was taken."""
        return self._ended


def expand_pattern(pattern: str, frame: int) -> Path:
    """`shot.%04d.exr` or `shot.####.exr` with the frame number filled in; a plain name as it is."""

    def number(found: re.Match[str]) -> str:
        sharps = found.group().startswith("#")
        width = len(found.group()) if sharps else int(found.group(2) or 1)
        return f"{frame:0{width}d}"

    folder, slash, name = pattern.replace("\\", "/").rpartition("/")
    return Path(folder + slash + _FIELD.sub(number, name))


def _lasting(data: bytes) -> bytes:
    """A file without what changes at every render of the same picture: dates, times, hashes."""
    if data[:8] == _PNG_MAGIC:
        return _lasting_png(data)
    if data[:4] == _EXR_MAGIC and len(data) > 8 and not data[5] & 0x10:  # multi-part: kept whole
        return _lasting_exr(data)
    return data


def _lasting_png(data: bytes) -> bytes:
    position, kept = 8, []
    while position + 8 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] not in _PNG_WORDS:
            kept.append(data[position:end])
        position = end
    return b"".join(kept)


def _lasting_exr(data: bytes) -> bytes:
    position, kept = 8, [data[:8]]
    while position < len(data) and data[position] != 0:
        name_end = data.find(b"\0", position)
        type_end = data.find(b"\0", name_end + 1)
        if name_end < 0 or type_end < 0 or type_end + 5 > len(data):
            return data
        size = int.from_bytes(data[type_end + 1 : type_end + 5], "little")
        end = type_end + 5 + size
        if data[position:name_end] in _EXR_KEPT:
            kept.append(data[position:end])
        position = end
    header = position + 1
    # the table of offsets counts from the file's start: told relative to the header's end
    first = int.from_bytes(data[header : header + 8], "little")
    return b"".join(kept) + (data[first:] if header < first <= len(data) else data[header:])
