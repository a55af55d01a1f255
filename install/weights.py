"""Installing weights: fetched or imported, checked against their hash, converted, put in place.

Reading tensors needs torch, so the conversion is given in by the caller; all else here is the
standard library. models/weights.py reads what this module lays down.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Callable, Optional

from install import archive, download, licenses
from install.errors import InstallError
from install.lock import only_one
from install.manifest import Entry
from install.weight_store import (
    SCHEMA,
    forget_pin,
    look,
    pin,
    read_record,
    store,
    swap_in,
    write_json,
    write_pin,
)

MIRROR = "CHROMABRIDGE_WEIGHTS_MIRROR"

#: Writes the tensors of the first file to the second, a .safetensors; raises ValueError when the
#: first holds anything but tensors.
Convert = Callable[[Path, Path], None]


@dataclass(frozen=True)
class Installed:
    """What a fetch or an import has put in place. sha256: of the file as its authors offer it.

    pinned: this was the first download, and its hash is now the one that counts.
    """

    name: str
    folder: Path
    sha256: str
    source: str
    pinned: bool


@dataclass(frozen=True)
class Row:
    """One line of the list; state: "bundled", "installed", "missing" or "broken"."""

    name: str
    title: str
    effect: str
    state: str
    detail: str
    spdx: str
    commercial: bool
    attribution: str
    allowed: bool
    reason: str
    sha256: str = ""
    bytes: int = 0


def listing(
    entries: Mapping[str, Entry], home: Path, root: Path, policies: Optional[Sequence[Path]] = None
) -> list[Row]:
    """Every row of the manifest with what is here and what may be used. Hashes nothing."""
    rows = []
    for entry in entries.values():
        state, detail, digest, size = look(entry, home, root)
        license_state = licenses.state(entry, home, policies)
        rows.append(
            Row(
                name=entry.name,
                title=entry.title,
                effect=entry.effect,
                state=state,
                detail=detail,
                spdx=entry.license.spdx,
                commercial=entry.license.commercial,
                attribution=entry.license.attribution,
                allowed=license_state.allowed,
                reason=license_state.reason,
                sha256=digest,
                bytes=size,
            )
        )
    return rows


def fetch(
    entry: Entry,
    home: Path,
    *,
    convert: Convert,
    progress: download.Progress = lambda done, total: None,
    mirrors: Sequence[str] = (),
    policies: Optional[Sequence[Path]] = None,
    pause_s: float = 1.0,
) -> Installed:
    """Download weights and put them in place; a broken-off download is resumed.

    mirrors: folders that are asked first, file name appended. The hash decides, not the address.
    Raises InstallError with the code of whatever is in the way; what was installed before stays.
    """
    licenses.require(entry, home, policies)
    if not entry.urls:
        raise InstallError("unknown_weights", f"{entry.title} ship with ChromaBridge")
    names = [f"{mirror.rstrip('/')}/{entry.download_name}" for mirror in mirrors]
    with only_one(store(home) / ".lock"):
        part = store(home) / ".partial" / entry.download_name
        url = download.fetch(
            [*names, *entry.urls], part, size=entry.bytes, progress=progress, pause_s=pause_s
        )
        try:
            installed = _install(entry, part, home, source=url, convert=convert)
        except InstallError as error:
            if error.code != "disk_full":
                part.unlink(missing_ok=True)
            raise
        part.unlink(missing_ok=True)
    return installed


def import_file(
    entry: Entry,
    file: Path,
    home: Path,
    *,
    convert: Convert,
    policies: Optional[Sequence[Path]] = None,
) -> Installed:
    """Put weights in place from a file that was brought here; the file itself is left alone.

    It has to be the very file that the authors offer: the same hash is asked of it.
    """
    licenses.require(entry, home, policies)
    if not file.is_file():
        raise InstallError("weights_missing", f"there is no file {file}")
    with only_one(store(home) / ".lock"):
        return _install(entry, file, home, source=file.name, convert=convert)


def verify(entry: Entry, home: Path, root: Path) -> str:
    """Hash everything that is installed; returns the weights' SHA-256.

    Raises InstallError `weights_missing` or `hash_mismatch`.
    """
    if entry.bundled:
        path = root / entry.bundled
        if not path.is_file():
            raise InstallError("weights_missing", f"{entry.bundled} is missing from ChromaBridge")
        digest = download.sha256(path)
        _expect(entry.bundled, entry.sha256, digest)
        return digest
    record = read_record(entry, home)
    if record is None:
        raise InstallError(
            "weights_missing",
            f"{entry.title} are not installed",
            hint=f"Fetch them with: chromabridge weights fetch {entry.name}",
        )
    for part in record["files"].values():
        path = store(home) / entry.name / part["file"]
        if not path.is_file():
            raise InstallError("weights_missing", f"{path} is gone", hint=_fetch_again(entry))
        _expect(path.name, part["sha256"], download.sha256(path), _fetch_again(entry))
    _expect(f"{entry.name}'s download", entry.sha256 or pin(entry, home), record["sha256"])
    return str(record["sha256"])


def remove(entry: Entry, home: Path, *, and_pin: bool = False) -> bool:
    """Take installed weights away; returns whether there were any. Its pin stays unless told."""
    with only_one(store(home) / ".lock"):
        folder = store(home) / entry.name
        there = folder.exists()
        if there:
            doomed = store(home) / f".old-{entry.name}-{os.getpid()}"
            folder.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
        if entry.download_name:
            (store(home) / ".partial" / entry.download_name).unlink(missing_ok=True)
        if and_pin:
            forget_pin(entry, home)
    return there


def _install(entry: Entry, file: Path, home: Path, *, source: str, convert: Convert) -> Installed:
    digest = download.sha256(file)
    expected = entry.sha256 or pin(entry, home)
    _expect(file.name, expected, digest, _REFUSED)
    new = store(home) / f".new-{entry.name}-{os.getpid()}"
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        parts = _convert(entry, file, new, convert)
        record = {
            "schema": SCHEMA,
            "name": entry.name,
            "source": source,
            "sha256": digest,
            "bytes": file.stat().st_size,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "files": parts,
            "license": asdict(entry.license),
        }
        write_json(new / "record.json", record)
        (new / "NOTICE.txt").write_text(_notice(entry, digest), encoding="utf-8")
        swap_in(new, store(home) / entry.name)
    except OSError as error:
        raise InstallError(
            "disk_full" if error.errno == errno.ENOSPC else "not_writable",
            f"{store(home)} cannot be written: {error.strerror or error}",
            hint="Free some space, or choose another folder with CHROMABRIDGE_HOME.",
        ) from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
    if expected is None:
        write_pin(entry, home, digest=digest, source=source)
    return Installed(entry.name, store(home) / entry.name, digest, source, expected is None)


_REFUSED = (
    "Nothing was installed. If the authors have published a new file on purpose, forget the old "
    "hash with: chromabridge weights remove NAME --forget-pin"
)


def _fetch_again(entry: Entry) -> str:
    return f"Fetch them again with: chromabridge weights fetch {entry.name}"


def _expect(what: str, expected: Optional[str], got: str, hint: str = "") -> None:
    if expected is not None and expected != got:
        raise InstallError(
            "hash_mismatch", f"{what}: expected SHA-256 {expected}, got {got}", hint=hint
        )


def _convert(entry: Entry, file: Path, folder: Path, convert: Convert) -> dict[str, Any]:
    """Write every part as .safetensors into folder; returns name, hash and size of each."""
    raw = folder / "raw"
    if entry.archive:
        sources = archive.extract(file, entry.files, raw)
    else:
        sources = {key: file for key in entry.files}
    parts = {}
    for key, path in sources.items():
        target = folder / f"{key}.safetensors"
        try:
            convert(path, target)
        except ValueError as error:
            raise InstallError(
                "bad_weights",
                f"{entry.files[key]} holds no usable weights: {error}",
                hint="Nothing was installed; fetch or copy the file again.",
            ) from None
        parts[key] = {
            "file": target.name,
            "sha256": download.sha256(target),
            "bytes": target.stat().st_size,
        }
    shutil.rmtree(raw, ignore_errors=True)
    return parts


def _notice(entry: Entry, digest: str) -> str:
    terms = entry.license
    lines = [
        entry.title,
        f"Licence: {terms.title} ({terms.spdx}), {terms.url}",
        f"Attribution: {terms.attribution}",
        f"SHA-256 of the authors' file: {digest}",
        "The .safetensors files here are conversions made on this machine; keep them here.",
        *terms.terms,
    ]
    return "\n".join(lines) + "\n"
