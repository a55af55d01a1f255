"""Where ChromaBridge keeps things for one user, on Linux, macOS and Windows.

CHROMABRIDGE_HOME overrides all of it with one folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Optional


def home(env: Optional[Mapping[str, str]] = None, platform: str = sys.platform) -> Path:
    """The folder for weights, settings, snapshots and logs; not created here."""
    env = os.environ if env is None else env
    if env.get("CHROMABRIDGE_HOME"):
        return Path(env["CHROMABRIDGE_HOME"])
    if platform == "win32":
        base = env.get("LOCALAPPDATA")
        return (Path(base) if base else Path.home() / "AppData" / "Local") / "ChromaBridge"
    if platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "ChromaBridge"
    base = env.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "chromabridge"


def runtime(env: Optional[Mapping[str, str]] = None, platform: str = sys.platform) -> Path:
    """The folder for the connection file and sockets of a running server; not created here."""
    env = os.environ if env is None else env
    if platform.startswith("linux") and not env.get("CHROMABRIDGE_HOME"):
        base = env.get("XDG_RUNTIME_DIR")
        if base:
            return Path(base) / "chromabridge"
    return home(env, platform) / "run"


def make_private(folder: Path) -> Path:
    """Create the folder for this user alone (0700 where the system knows modes); returns it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if os.name == "posix":
        folder.chmod(0o700)
    return folder
