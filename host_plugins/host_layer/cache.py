"""Results by content: a frame that was colored before under the same conditions is not run again.

A frame's colors hang on all frames before it, so that its key is a chain: conditions, then every
frame of the clip up to it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional, Union

from host_plugins.host_layer.files import disk_error, write_whole


class Chain:
    """The keys of a clip's frames. conditions: all that colors hang on beside the frames."""

    def __init__(self, conditions: Mapping[str, Any]) -> None:
        self.seed = condition_key(conditions)
        self._link = self.seed

    def next(self, *, digest: bytes, index: int, cut: bool) -> str:
        """The key of the clip's next frame, 64 hexadecimal digits."""
        told = f"{self._link}|{digest.hex()}|{index}|{cut}"
        self._link = hashlib.blake2b(told.encode(), digest_size=32).hexdigest()
        return self._link


def condition_key(conditions: Mapping[str, Any]) -> str:
    """64 hexadecimal digits over a map of plain values, whatever the order of its keys."""
    text = json.dumps(conditions, sort_keys=True, default=_plain, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()


class ResultCache:
    """Files under their keys in one folder; dropped oldest first beyond a size."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes

    def find(self, key: str, suffix: str) -> Optional[Path]:
        """The file of a key, or None."""
        path = self._path(key, suffix)
        return path if path.is_file() else None

    def put(self, key: str, suffix: str, data: Union[bytes, bytearray, memoryview]) -> Path:
        """Keep a result. Raises BridgeError disk_full, output_not_writable."""
        path = self._path(key, suffix)
        write_whole(path, data)
        return path

    def trim(self) -> int:
        """Drop the oldest files until the limit holds; returns how many bytes are left.

        What a project has placed elsewhere stays, since it is a name of its own for the same file.
        """
        kept: list[tuple[float, int, Path]] = []
        for path in self._folder.glob("??/*"):
            with suppress(OSError):
                told = path.stat()
                kept.append((told.st_mtime, told.st_size, path))
        size = sum(item[1] for item in kept)
        for _, length, path in sorted(kept):
            if size <= self._limit_bytes:
                break
            with suppress(OSError):
                path.unlink()
                size -= length
        return size

    def _path(self, key: str, suffix: str) -> Path:
        return self._folder / key[:2] / f"{key}{suffix}"


class Journal:
    """What one job has in hand, so that a later run may take the server's session up again.

    A line for each frame, its key; the first line is the job's name on the server.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._job, self._done = _read_journal(path)

    def job(self) -> Optional[str]:
        """The job's name on the server; None when there was none."""
        return self._job

    def fits(self, keys: Sequence[str]) -> bool:
        """The frames done so far are the first ones of these keys."""
        return self._job is not None and self._done == list(keys[: len(self._done)])

    def begin(self, job: str) -> None:
        """A new job, with nothing done. Raises BridgeError disk_full, output_not_writable."""
        self._job, self._done = job, []
        write_whole(self._path, job.encode() + b"\n")

    def add(self, place: int, key: str) -> None:
        """Frame number `place` of the job is in the host's hands. Raises BridgeError as begin."""
        if place != len(self._done):
            return  # run a second time to get the server's state back
        self._done.append(key)
        try:
            with self._path.open("a", encoding="ascii") as file:
                file.write(key + "\n")
        except OSError as error:
            raise disk_error(self._path, error) from None


def _read_journal(path: Path) -> tuple[Optional[str], list[str]]:
    try:
        job, *done = path.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None, []
    return job, done


def _plain(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    return list(value)
