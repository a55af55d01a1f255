"""Who accepted which weights' terms, and what the site forbids whoever accepts it."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

from install import places
from install.errors import InstallError
from install.manifest import Entry

AUDIT_FILE = "licenses.jsonl"


@dataclass(frozen=True)
class Record:
    """One line of the audit file; action: "accept" or "revoke"."""

    action: str
    weights: str
    spdx: str
    license_sha256: str
    name: str
    purpose: str
    date: str
    account: str


@dataclass(frozen=True)
class State:
    """Whether weights may be used; code is "" or the error's code, reason says it in a sentence."""

    allowed: bool
    code: str = ""
    reason: str = ""
    hint: str = ""
    accepted: Optional[Record] = None


def state(entry: Entry, home: Path, policies: Optional[Sequence[Path]] = None) -> State:
    """Whether these weights may be used here: site policy first, then the user's acceptance.

    Weights whose licence allows commercial use need no acceptance.
    """
    forbidden = _forbidden(entry, places.policies() if policies is None else policies)
    if forbidden:
        return State(
            False,
            "license_forbidden",
            forbidden,
            "Choose another effect, or ask whoever keeps the policy.",
        )
    accepted = _last(entry, home)
    if entry.license.commercial or accepted is not None:
        return State(True, accepted=accepted)
    return State(
        False,
        "license_required",
        f"{entry.title} stand under {entry.license.spdx}, which nobody has accepted here",
        f"Read and accept it with: chromabridge license accept {entry.name}",
    )


def require(entry: Entry, home: Path, policies: Optional[Sequence[Path]] = None) -> State:
    """As state, but raises InstallError `license_required` or `license_forbidden`."""
    found = state(entry, home, policies)
    if not found.allowed:
        raise InstallError(found.code, found.reason, hint=found.hint)
    return found


def accept(
    entry: Entry,
    home: Path,
    *,
    name: str,
    purpose: str,
    policies: Optional[Sequence[Path]] = None,
) -> Record:
    """Write an acceptance to the audit file.

    Raises InstallError `license_forbidden` when site policy forbids the weights anyway, and
    `license_required` when the name or the purpose is empty.
    """
    found = state(entry, home, policies)
    if found.code == "license_forbidden":
        raise InstallError(found.code, found.reason, hint=found.hint)
    if not name.strip() or not purpose.strip():
        raise InstallError(
            "license_required",
            "an acceptance needs the name of a person and a purpose",
            hint="Give both: --name 'Ada Lovelace' --purpose 'film studies'",
        )
    return _append(home, _record("accept", entry, name, purpose))


def revoke(entry: Entry, home: Path, *, name: str = "", purpose: str = "") -> Record:
    """Take an acceptance back; the audit file keeps both."""
    return _append(home, _record("revoke", entry, name, purpose))


def audit(home: Path) -> list[Record]:
    """All lines of the audit file, oldest first; lines that cannot be read are left out."""
    try:
        lines = (home / AUDIT_FILE).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    records = []
    for line in lines:
        try:
            records.append(Record(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return records


def _last(entry: Entry, home: Path) -> Optional[Record]:
    """The acceptance in force: of these very terms, and not taken back since."""
    lines = [record for record in audit(home) if record.weights == entry.name]
    last = lines[-1] if lines else None
    if last is None or last.action != "accept" or last.license_sha256 != entry.license.sha256:
        return None
    return last


def _forbidden(entry: Entry, policies: Sequence[Path]) -> str:
    """The sentence with which some policy forbids the weights, or "".

    A policy that cannot be read forbids: whoever wrote it meant to forbid something.
    """
    for path in policies:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"the site policy {path} cannot be read: {error.strerror}"
        try:
            rules = _rules(json.loads(text))
        except ValueError as error:
            return f"the site policy {path} cannot be understood: {error}"
        contact = f" (ask {rules['contact']})" if rules["contact"] else ""
        if entry.name in rules["forbidden_weights"]:
            return f"site policy forbids the weights {entry.name!r}{contact}"
        if rules["non_commercial_weights"] == "forbid" and not entry.license.commercial:
            return f"site policy forbids non-commercial weights, as {entry.name!r} are{contact}"
    return ""


def _rules(data: Any) -> dict[str, Any]:
    """The policy, checked; raises ValueError on whatever it does not know."""
    known = {"schema": 1, "non_commercial_weights": "allow", "forbidden_weights": [], "contact": ""}
    if not isinstance(data, dict):
        raise ValueError(f"expected a JSON object, got {type(data).__name__}")
    unknown = sorted(data.keys() - known.keys())
    if unknown:
        raise ValueError(f"expected only {', '.join(known)}; got {', '.join(unknown)}")
    rules = {**known, **data}
    if rules["schema"] != 1:
        raise ValueError(f"expected schema 1, got {rules['schema']!r}")
    if rules["non_commercial_weights"] not in ("allow", "forbid"):
        got = rules["non_commercial_weights"]
        raise ValueError(f"expected non_commercial_weights 'allow' or 'forbid', got {got!r}")
    names = rules["forbidden_weights"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"expected forbidden_weights as a list of names, got {names!r}")
    return rules


def _record(action: str, entry: Entry, name: str, purpose: str) -> Record:
    try:
        account = getpass.getuser()
    except (OSError, KeyError, ImportError):
        account = ""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    terms = entry.license
    return Record(
        action, entry.name, terms.spdx, terms.sha256, name.strip(), purpose.strip(), now, account
    )


def _append(home: Path, record: Record) -> Record:
    line = json.dumps(asdict(record), ensure_ascii=False) + "\n"
    try:
        home.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(home / AUDIT_FILE, flags, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InstallError(
            "not_writable",
            f"the audit file in {home} cannot be written: {error.strerror}",
            hint="Choose a folder that you own with CHROMABRIDGE_HOME.",
        ) from None
    return record
