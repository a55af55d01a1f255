"""Reading models/weights.json, the one list of weights: where they come from, under which terms."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

from install.errors import InstallError

PATH = Path(__file__).resolve().parent.parent / "models" / "weights.json"
PIN = "pin on first fetch"


@dataclass(frozen=True)
class License:
    """The terms of some weights; terms: the sentences that a user accepts."""

    spdx: str
    title: str
    url: str
    commercial: bool
    share_alike: bool
    attribution: str
    terms: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Names these very terms: when the list changes, they have to be accepted anew."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """One row of the list.

    files: for each part of the network the file's name, or its path inside the archive. sha256: of
    the download, or None where the first download is pinned. bundled: where weights that ship with
    ChromaBridge lie, from the repository's root; such weights have no urls.
    """

    name: str
    effect: str
    title: str
    license: License
    files: Mapping[str, str]
    urls: tuple[str, ...] = ()
    bytes: Optional[int] = None
    about_bytes: int = 0
    sha256: Optional[str] = None
    bundled: str = ""

    @property
    def archive(self) -> bool:
        """Whether the download is a zip file that holds the files."""
        return bool(self.urls) and self.urls[0].lower().endswith(".zip")

    @property
    def download_name(self) -> str:
        return self.urls[0].rsplit("/", 1)[-1] if self.urls else ""


def load(path: Path = PATH) -> dict[str, Entry]:
    """The list by name, in its own order."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return {row["name"]: _entry(row) for row in data["weights"]}


def get(name: str, path: Path = PATH) -> Entry:
    """One row; raises InstallError `unknown_weights`."""
    entries = load(path)
    if name not in entries:
        raise InstallError(
            "unknown_weights",
            f"there are no weights {name!r}",
            hint=f"Known are: {', '.join(entries)}.",
        )
    return entries[name]


def _entry(row: Mapping[str, Any]) -> Entry:
    terms = dict(row["license"])
    terms["terms"] = tuple(terms.get("terms", ()))
    digest = row.get("sha256")
    return Entry(
        name=row["name"],
        effect=row["effect"],
        title=row["title"],
        license=License(**terms),
        files=dict(row["files"]),
        urls=tuple(row.get("urls", ())),
        bytes=row.get("bytes"),
        about_bytes=row.get("about_bytes", 0),
        sha256=None if digest in (None, PIN) else str(digest),
        bundled=row.get("bundled", ""),
    )
