"""Content keys: whether a frame on disk is already what a run would make."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bridge_server.media.frame import PlateFrame, YcbcrPicture

#: The index lies beside the outputs, one JSON object a line, later lines win.
INDEX_NAME = ".chromabridge-index.jsonl"


def frame_digest(frame: PlateFrame) -> str:
    """Names the stored pixels of a frame (hex), alpha and further channels included."""
    digest = hashlib.blake2b(digest_size=20)
    picture = frame.picture
    digest.update(repr((picture.coding, picture.size, frame.window)).encode())
    if isinstance(picture, YcbcrPicture):
        planes = [picture.y, picture.cb, picture.cr, picture.alpha]
    else:
        digest.update(repr((picture.names, picture.color)).encode())
        planes = [picture.pixels]
    for plane in planes:
        if plane is not None:
            digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


def content_key(plate: str, settings: Mapping[str, Any], *, previous: str = "") -> str:
    """The key of one result: everything that can change its pixels.

    plate: frame_digest of its plate. settings: exemplar digests, parameters, weights, version and
    whatever else matters, as JSON values; their order does not matter. previous: the key of the
    frame before it in the shot, "" at its start, because color is carried from frame to frame.
    """
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    joined = "\n".join((previous, plate, text))
    return hashlib.blake2b(joined.encode(), digest_size=20).hexdigest()


@dataclass(frozen=True)
class Entry:
    """What the index knows of one frame: its key, its file's name and size."""

    key: str
    name: str
    nbytes: int


class ContentIndex:
    """Remembers which key each file in a folder was made for.

    Every entry is one appended line, so that a kill leaves all earlier entries valid; a torn last
    line is ignored. Safe to use from several threads.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / INDEX_NAME
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        text = self._path.read_text(encoding="utf-8") if self._path.is_file() else ""
        self._torn = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            self._read(line)

    def unchanged(self, path: Path, key: str) -> bool:
        """Whether `path` is whole and was made for `key`."""
        with self._lock:
            entry = self._entries.get(path.name)
        if entry is None or entry.key != key:
            return False
        try:
            return path.stat().st_size == entry.nbytes
        except OSError:
            return False

    def knows(self, path: Path) -> bool:
        """Whether an earlier run made a file of that name here, for whatever key."""
        with self._lock:
            return path.name in self._entries

    def claim(self, path: Path) -> None:
        """Say, before `path` is written, that it will be ours.

        A kill between the file and its record then leaves a file that is known, if for no key.
        """
        self._append(Entry("", path.name, -1))

    def record(self, path: Path, key: str) -> None:
        """Remember that `path`, now whole, was made for `key`."""
        self._append(Entry(key, path.name, path.stat().st_size))

    def _append(self, entry: Entry) -> None:
        line = json.dumps({"key": entry.key, "file": entry.name, "bytes": entry.nbytes})
        with self._lock:
            # A line that a kill cut off is ended first, so that it spoils no other.
            with self._path.open("a", encoding="utf-8") as index:
                index.write(("\n" if self._torn else "") + line + "\n")
            self._torn = False
            self._entries[entry.name] = entry

    def _read(self, line: str) -> None:
        try:
            found = json.loads(line)
            entry = Entry(str(found["key"]), str(found["file"]), int(found["bytes"]))
        except (ValueError, KeyError, TypeError):
            return
        self._entries[entry.name] = entry
