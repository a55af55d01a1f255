"""Files that appear whole or not at all, with the errors of the disk in a user's words."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import Union

from host_plugins.wire.errors import BridgeError


def write_whole(path: Path, data: Union[bytes, bytearray, memoryview]) -> None:
    """Write under a temporary name, then rename. Raises disk_full, output_not_writable."""
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise disk_error(path, error) from None


def place_whole(source: Path, path: Path) -> None:
    """Give a file a second name by a hard link, or copy it where links are not to be had.

    Raises disk_full, output_not_writable.
    """
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        temporary.replace(path)
    except OSError as error:
        raise disk_error(path, error) from None
    finally:
        with suppress(OSError):
            temporary.unlink()  # renaming onto another link of the same file leaves both


def disk_error(path: Path, error: OSError) -> BridgeError:
    """The BridgeError for a write that failed."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BridgeError("disk_full", f"the disk of {path.parent} is full")
    return BridgeError("output_not_writable", f"cannot write {path}: {error.strerror or error}")


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
