"""Fetching one file: resumed after a break, from several mirrors, taken only when whole."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, Optional

from install.errors import InstallError

CHUNK = 1 << 18
TRIES = 4
TIMEOUT_S = 30.0
#: Free space that must remain on the disk when a download is complete.
SPARE_BYTES = 64 << 20

Progress = Callable[[int, Optional[int]], None]
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)


class _Again(Exception):
    """A try failed in a way that the next one may not."""


def fetch(
    urls: Sequence[str],
    part: Path,
    *,
    size: Optional[int] = None,
    progress: Progress = lambda done, total: None,
    tries: int = TRIES,
    pause_s: float = 1.0,
) -> str:
    """Bring a file to `part`; returns the url that served it.

    Bytes that an earlier run left in `part` are kept when the server says that it still has the
    same file. A try is repeated only where that can help: a cut connection, a busy server.
    Raises InstallError `offline`, `download_failed` or `disk_full`; `part` then holds what came.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    failures: list[tuple[str, str]] = []
    for url in urls:
        for attempt in range(tries):
            try:
                _one_try(url, part, size, progress)
                _note_path(part).unlink(missing_ok=True)
                return url
            except _Again as error:
                failures.append((url, str(error)))
                if attempt + 1 < tries:
                    time.sleep(pause_s * 2**attempt)
            except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
                if getattr(error, "errno", None) == errno.ENOSPC:
                    raise _disk_full(part, str(error)) from None
                failures.append((url, _reason(error)))
                break
    offline = all(_is_offline(reason) for _, reason in failures)
    tried = "; ".join(dict.fromkeys(f"{url}: {reason}" for url, reason in failures))
    raise InstallError(
        "offline" if offline else "download_failed",
        f"no address served the file ({tried})",
        hint=f"On a connected machine, download {urls[0]} and import it here: "
        "chromabridge weights import NAME FILE",
    )


def sha256(path: Path, progress: Progress = lambda done, total: None) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    done, total = 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            done += len(chunk)
            progress(done, total)
    return digest.hexdigest()


def _one_try(url: str, part: Path, size: Optional[int], progress: Progress) -> None:
    note = _read_note(part)
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "chromabridge"})
    if have and note.get("url") == url and note.get("validator"):
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", str(note["validator"]))
    else:
        have = 0
    try:
        answer = _OPENER.open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # what we hold is no part of the file any more
            part.unlink(missing_ok=True)
            raise _Again("the server refused to resume") from None
        if error.code in _TEMPORARY:
            raise _Again(f"HTTP {error.code}") from None
        raise
    except (socket.timeout, ConnectionResetError, http.client.RemoteDisconnected) as error:
        raise _Again(_reason(error)) from None
    with answer:
        have = have if answer.status == 206 and _begins_at(answer, have) else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else size
        if size is not None and total != size:
            raise OSError(f"expected {size} bytes, got {total}")
        _check_disk(part, (total or 0) - have)
        _write_note(part, url, answer.headers)
        done = _copy(answer, part, have, total, progress)
    if total is not None and done < total:
        raise _Again(f"cut off after {done} of {total} bytes")


def _begins_at(answer: Any, have: int) -> bool:
    """Whether a partial answer goes on where we stopped; another start is a broken server."""
    given = answer.headers.get("Content-Range", "")
    if not given.startswith(f"bytes {have}-"):
        raise OSError(f"asked for bytes from {have}, got {given or 'no Content-Range'}")
    return True


def _copy(answer: Any, part: Path, have: int, total: Optional[int], progress: Progress) -> int:
    done = have
    with part.open("ab" if have else "wb") as file:
        while True:
            try:
                chunk = answer.read(CHUNK)
            except (socket.timeout, ConnectionError, http.client.IncompleteRead) as error:
                raise _Again(f"cut off after {done} bytes ({_reason(error)})") from None
            if not chunk:
                return done
            file.write(chunk)
            done += len(chunk)
            progress(done, total)


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to http."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Optional[urllib.request.Request]:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.URLError(f"redirected from https to {newurl.split(':')[0]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_NoDowngrade)


def _check_disk(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed + SPARE_BYTES:
        raise _disk_full(part, f"expected {needed >> 20} MiB more, got {free >> 20} MiB free")


def _disk_full(part: Path, reason: str) -> InstallError:
    return InstallError(
        "disk_full",
        f"the disk of {part.parent} is full: {reason}",
        hint="Free some space and run this again; what has come is kept.",
    )


def _note_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_note(part: Path) -> dict[str, Any]:
    try:
        note = json.loads(_note_path(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _write_note(part: Path, url: str, headers: Any) -> None:
    """What tells at the next try whether the server still has the same file."""
    etag = headers.get("ETag") or ""
    strong = etag if not etag.startswith("W/") else ""
    note = {"url": url, "validator": strong or headers.get("Last-Modified") or ""}
    _note_path(part).write_text(json.dumps(note), encoding="utf-8")


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    inner = getattr(error, "reason", error)
    return str(inner) or type(error).__name__


_OFFLINE = (
    "name or service",
    "name resolution",
    "getaddrinfo",
    "refused",
    "unreachable",
    "no address",
)


def _is_offline(reason: str) -> bool:
    return any(word in reason.lower() for word in _OFFLINE)
