"""Starting a server: one for each user, held by a lock that the system frees when we die."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge_server.front.process import Front
from bridge_server.settings import Settings
from host_plugins import places
from host_plugins.launch import ConnectionInfo
from host_plugins.link import CTL
from host_plugins.wire.errors import BridgeError


def serve(
    settings: Settings,
    *,
    file: Path,
    log_json: bool = False,
    ready: Callable[[ConnectionInfo], None] | None = None,
) -> None:
    """Run a server until it is stopped. Raises BridgeError `already_running`, `port_taken`."""
    places.make_private(file.parent)
    home = places.make_private(places.home())
    with only_one(file):
        Front(settings, file=file, home=home, log_json=log_json).run(ready)


class only_one:
    """Holds the lock file of this user's server; the operating system frees it when we die."""

    def __init__(self, file: Path) -> None:
        self._path = file.with_suffix(".lock")
        self._file = file

    def __enter__(self) -> None:
        self._handle = self._path.open("a+")
        try:
            _lock(self._handle)
        except OSError:
            self._handle.close()
            raise BridgeError("already_running", _where(self._file)) from None

    def __exit__(self, *_: object) -> None:
        self._handle.close()


def wait_until_gone(file: Path, timeout_s: float) -> bool:
    """Whether this user's server has ended, and another can start, within so many seconds."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with only_one(file):
                return True
        except BridgeError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)


def _lock(handle: Any) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _where(file: Path) -> str:
    try:
        info = ConnectionInfo.load(file)
    except BridgeError:
        return "a server of this user is just starting or stopping"
    return f"a server runs already, pid {info.pid}, at {info.endpoints['tcp'][CTL]}"
