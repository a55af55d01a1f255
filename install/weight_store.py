"""The folder of installed weights: records, pinned hashes, folders swapped in whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from install import download
from install.errors import InstallError
from install.manifest import Entry

SCHEMA = 1


def store(home: Path) -> Path:
    """The folder of all installed weights."""
    return home / "weights"


def read_record(entry: Entry, home: Path) -> Optional[dict[str, Any]]:
    """What is noted of installed weights, or None when there are none."""
    try:
        record = json.loads((store(home) / entry.name / "record.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("schema") == SCHEMA else None


def pin(entry: Entry, home: Path) -> Optional[str]:
    """The SHA-256 that the first download of these weights had here, or None."""
    found = _pins(home).get(entry.name)
    return str(found["sha256"]) if isinstance(found, dict) else None


def write_pin(entry: Entry, home: Path, *, digest: str, source: str) -> None:
    """Note the hash that counts from now on."""
    pins = {**_pins(home), entry.name: {"sha256": digest, "source": source}}
    write_json(store(home) / "pins.json", pins)


def forget_pin(entry: Entry, home: Path) -> None:
    """The next download is the first one again."""
    pins = _pins(home)
    if pins.pop(entry.name, None) is not None:
        write_json(store(home) / "pins.json", pins)


def look(entry: Entry, home: Path, root: Path) -> tuple[str, str, str, int]:
    """State, detail, hash and size of some weights; reads only bundled ones, which are small."""
    if entry.bundled:
        path = root / entry.bundled
        if path.is_file():
            return "bundled", entry.bundled, download.sha256(path), path.stat().st_size
        return "broken", f"{entry.bundled} is missing", "", 0
    record = read_record(entry, home)
    if record is None:
        return "missing", "", pin(entry, home) or "", entry.bytes or entry.about_bytes
    size = 0
    for part in record["files"].values():
        path = store(home) / entry.name / part["file"]
        if not path.is_file() or path.stat().st_size != part["bytes"]:
            return "broken", f"{path.name} is missing or of another size", record["sha256"], 0
        size += part["bytes"]
    return "installed", str(store(home) / entry.name), record["sha256"], size


def files(entry: Entry, home: Path, root: Path) -> dict[str, Path]:
    """The file of each part; only for weights that `look` calls bundled or installed."""
    if entry.bundled:
        return {key: root / entry.bundled for key in entry.files}
    record = read_record(entry, home)
    parts = record["files"] if record else {}
    return {key: store(home) / entry.name / part["file"] for key, part in parts.items()}


def swap_in(new: Path, place: Path) -> None:
    """Put a finished folder in the place of an older one, which then goes."""
    old = place.with_name(f".old-{place.name}-{os.getpid()}")
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(data, indent=1, ensure_ascii=False), encoding="utf-8")
    part.replace(path)


def _pins(home: Path) -> dict[str, Any]:
    path = store(home) / "pins.json"
    try:
        pins = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InstallError(
            "hash_mismatch",
            f"the pinned hashes in {path} cannot be read: {error}",
            hint="Mend the file, or remove it to pin anew.",
        ) from None
    return pins if isinstance(pins, dict) else {}
