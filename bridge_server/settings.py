"""Everything an operator can set about a server, in one frozen place.

Order: default, then the settings file (TOML, in the user's ChromaBridge folder), then environment
variables CHROMABRIDGE_<NAME>, then flags.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from host_plugins import places
from host_plugins.wire.errors import BridgeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_NAME = "server.toml"


@dataclass(frozen=True)
class Settings:
    """See the module.

    host, port, data_port: the TCP address; port 0 takes a free one. A host that is not a loopback
    address is opened beside loopback, for clients with keys alone; the ports are then its own.
    metrics_port: a loopback port for the status page and Prometheus metrics; 0 is off.
    max_sessions: how many may be open at once. idle_s: a session that nobody touched for so long is
    closed. grace_s: how long a session waits for a client that went away. snapshot_frames,
    snapshot_s: state is saved after so many frames and at most every so many seconds; 0 frames
    switches it off.
    """

    host: str = "127.0.0.1"
    port: int = 0
    data_port: int = 0
    metrics_port: int = 0
    max_sessions: int = 32
    idle_s: float = 3600.0
    grace_s: float = 600.0
    snapshot_frames: int = 32
    snapshot_s: float = 20.0
    device: str = "auto"
    log_level: str = "info"


def load(flags: Mapping[str, Any], *, home: Path | None = None) -> Settings:
    """Settings from file, environment and flags (None means not given).

    Raises BridgeError `bad_param` naming the place of a bad value.
    """
    path = (home or places.home()) / FILE_NAME
    settings = Settings()
    if path.exists():
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BridgeError("bad_param", f"{path.name} cannot be read: {error}") from None
        settings = _with(settings, told, str(path.name))
    environment = {
        field.name: os.environ[f"CHROMABRIDGE_{field.name.upper()}"]
        for field in fields(Settings)
        if f"CHROMABRIDGE_{field.name.upper()}" in os.environ
    }
    settings = _with(settings, environment, "environment")
    return _with(settings, {k: v for k, v in flags.items() if v is not None}, "command line")


def _with(settings: Settings, values: Mapping[str, Any], where: str) -> Settings:
    kinds = {field.name: type(getattr(settings, field.name)) for field in fields(Settings)}
    typed = {}
    for name, value in values.items():
        if name not in kinds:
            raise BridgeError(
                "bad_param", f"{where}: expected one of {', '.join(kinds)}, got {name!r}"
            )
        try:
            typed[name] = kinds[name](value)
        except (TypeError, ValueError):
            raise BridgeError(
                "bad_param", f"{where}: expected {name} as {kinds[name].__name__}, got {value!r}"
            ) from None
    return replace(settings, **typed)
