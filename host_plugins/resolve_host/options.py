"""What one run is asked to do; kept as named presets, so that the menu can run without a window."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from host_plugins import places
from host_plugins.host_layer import Pin
from host_plugins.host_layer.files import write_whole
from host_plugins.wire.errors import BridgeError

CHOICES = {
    "plate": ("graded", "ungraded", "file"),
    "plate_format": ("auto", "tif", "exr"),
    "place": ("track", "take", "loader"),
    "result": ("auto", "tiff", "exr", "movie"),
}
DEFAULT_PRESET = "default"
_NAME = re.compile(r"[\w -]{1,60}\Z")


@dataclass(frozen=True)
class Options:
    """effect: "" for the server's default. values: parameters by name. exemplars: pictures beside
    those pinned to the clip; frames count in the clip's source. clips: as choose_clips takes it.

    plate: "graded" renders the clip as it looks, "ungraded" without its grade, "file" reads its
    own file. plate_format: of renders, "tif" (16 bits), "exr" (half float), or "auto": EXR where
    the project's output is linear. place: "track" above, "take" of the clip, or Fusion "loader".
    result: "tiff", "exr", "movie" (ProRes 4444), or "auto" (as the plate). folder: for results;
    "" is a folder in the user's home.
    """

    effect: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    exemplars: tuple[Pin, ...] = ()
    clips: str = "playhead"
    plate: str = "graded"
    plate_format: str = "auto"
    place: str = "track"
    result: str = "auto"
    folder: str = ""

    def check(self) -> None:
        """Raises BridgeError bad_param."""
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise BridgeError(
                    "bad_param", f"{name}: expected {', '.join(choices)}, got {value!r}"
                )
        if self.place != "track" and self.plate == "graded":
            raise BridgeError(
                "bad_param",
                f"A {self.place} gets the clip's grade once more, so that a graded plate would be "
                "graded twice",
                hint="Choose plate 'ungraded' or 'file', or place 'track'.",
            )

    @property
    def root(self) -> Path:
        """Where results go."""
        return Path(self.folder) if self.folder else places.home() / "results" / "resolve"


def save_preset(options: Options, name: str = DEFAULT_PRESET) -> Path:
    """Keep options under a name. Raises bad_param, disk_full, output_not_writable."""
    path = _preset_file(name)
    write_whole(path, json.dumps(asdict(options), indent=1).encode())
    return path


def load_preset(name: str = DEFAULT_PRESET) -> Options:
    """Read a preset; the default one need not exist. Raises BridgeError bad_param."""
    path = _preset_file(name)
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        pins = tuple(Pin(str(p["path"]), p.get("frame")) for p in told.pop("exemplars", []))
        known = {item.name for item in fields(Options)}
        options = Options(exemplars=pins, **{k: v for k, v in told.items() if k in known})
    except FileNotFoundError:
        if name == DEFAULT_PRESET:
            return Options()
        raise BridgeError(
            "bad_param", f"There is no preset {name!r}", hint=f"It would lie at {path}."
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as problem:
        raise BridgeError("bad_param", f"The preset {path} cannot be read: {problem}") from None
    options.check()
    return options


def _preset_file(name: str) -> Path:
    if not _NAME.match(name):
        raise BridgeError("bad_param", f"expected a plain preset name, got {name!r}")
    return places.home() / "presets" / "resolve" / f"{name}.json"
