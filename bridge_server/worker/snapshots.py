"""Session state on disk: two safetensors files a job, written whole or not at all, never pickled.

A snapshot belongs to a fingerprint of everything that makes the pictures (effect, parameters,
exemplars, weights, versions); another fingerprint does not find it. The one before the last is
kept too: a client that was killed may lack results from before the last. The folder is bounded:
the oldest files go first.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from models.propagator import State

log = logging.getLogger(__name__)

STORE_BYTES = 8 * 1024**3
#: a snapshot may cost this share of the time since the last one
COST_SHARE = 0.01


def fingerprint(told: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON map, keys sorted."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


class SnapshotStore:
    """The snapshots of this user, in one folder."""

    def __init__(self, folder: Path, largest: int = STORE_BYTES) -> None:
        self._folder = folder
        self._largest = largest

    def save(self, key: str, q: int, state: State) -> None:
        """Write the state before frame `q`, and keep the job's last snapshot. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path, before = self._paths(key)
        temporary = path.with_suffix(f".{os.getpid()}.part")
        tensors = {name: tensor.contiguous().cpu() for name, tensor in state.tensors.items()}
        told = {"q": str(q), "values": json.dumps(dict(state.values)), "format": "1"}
        try:
            save_file(tensors, temporary, metadata=told)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            with suppress(FileNotFoundError):
                path.replace(before)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        self._trim(keep=path)

    def load(self, key: str, *, upto: int | None = None) -> tuple[int, State] | None:
        """The job's snapshot: the next frame and its state; None when there is no good one.

        upto: the next frame may be this one at most.
        """
        for path in self._paths(key):
            found = _read(path, upto)
            if found is not None:
                return found
        return None

    def _paths(self, key: str) -> tuple[Path, Path]:
        """Of the last snapshot, and of the one before."""
        return self._folder / f"{key}.safetensors", self._folder / f"{key}.before.safetensors"

    def _trim(self, keep: Path) -> None:
        files = []
        for path in self._folder.glob("*.safetensors"):
            with suppress(FileNotFoundError):
                files.append((path.stat().st_mtime, path.stat().st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._largest:
                return
            if path != keep:
                with suppress(FileNotFoundError):
                    path.unlink()
                total -= size


def _read(path: Path, upto: int | None) -> tuple[int, State] | None:
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata()
            q = int(told["q"])
            if upto is not None and q > upto:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        path.touch()
        return q, State(tensors, json.loads(told["values"]))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        log.warning("a snapshot cannot be used and is dropped: %s", error)
        path.unlink(missing_ok=True)
        return None


class Cadence:
    """When the next snapshot is due: after so many frames, once it is cheap enough."""

    def __init__(self, every_frames: int, every_s: float) -> None:
        self._every_frames = every_frames
        self._every_s = every_s
        self._frames = 0
        self._cost = 0.0
        self._last = time.monotonic()

    def due(self) -> bool:
        """Count a frame; True when a snapshot should be made now."""
        if self._every_frames <= 0:
            return False
        self._frames += 1
        elapsed = time.monotonic() - self._last
        waited = self._frames >= self._every_frames or elapsed >= self._every_s
        return waited and elapsed * COST_SHARE >= self._cost

    def done(self, cost_s: float) -> None:
        """A snapshot was made and took so long."""
        self._frames, self._cost, self._last = 0, cost_s, time.monotonic()
