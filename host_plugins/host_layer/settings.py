"""A host user's few settings, in one small file that every host reads."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Optional

from host_plugins import places
from host_plugins.host_layer.files import write_whole

FILE_NAME = "hosts.json"


@dataclass(frozen=True)
class Settings:
    """server: the connection file of another server (or of a relay); "" is this user's own, which
    is started when it is needed. cache: the folder for plates and results; "" is a folder in the
    user's home. cache_gb: results beyond this size are dropped, oldest first. effect: the one that
    new panels begin with; "" is the server's default. working_size: the long side that the network
    sees, in pixels; 0 leaves it to the effect.
    """

    server: str = ""
    cache: str = ""
    cache_gb: float = 20.0
    effect: str = ""
    working_size: int = 0

    @property
    def cache_root(self) -> Path:
        """Where plates and results are kept."""
        return Path(self.cache) if self.cache else places.home() / "cache"


def settings_file() -> Path:
    """The file that all hosts share."""
    return places.home() / FILE_NAME


def load_settings(path: Optional[Path] = None) -> Settings:
    """Read the settings; what is missing, damaged or of a wrong type keeps its default."""
    try:
        data = json.loads((path or settings_file()).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Settings()
    known: dict[str, Any] = {}
    for item in fields(Settings):
        value = data.get(item.name) if isinstance(data, dict) else None
        if type(value) is type(item.default) or (
            type(value) is int and isinstance(item.default, float)
        ):
            known[item.name] = value
    return Settings(**known)


def save_settings(settings: Settings, path: Optional[Path] = None) -> None:
    """Write the file whole. Raises BridgeError disk_full, output_not_writable."""
    write_whole(path or settings_file(), json.dumps(asdict(settings), indent=1).encode())
