"""A lock of the operating system on a file, so that two installations never run at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from install.errors import InstallError


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the lock file for the block; the system releases it even when the process dies.

    Raises InstallError `locked` when another process holds it, `not_writable` when it cannot be
    made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise InstallError(
            "not_writable",
            f"cannot write in {path.parent}: {error.strerror}",
            hint="Work in a folder that you own.",
        ) from None
    try:
        if not _take(descriptor):
            raise InstallError(
                "locked",
                f"another installation holds {path.name} (process {_owner(path)})",
                hint="Wait until it ends, then run this again.",
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)


def _owner(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "unknown"
    except OSError:
        return "unknown"


if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 20  # beyond the process number, which stays readable

    def _take(descriptor: int) -> bool:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _take(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
