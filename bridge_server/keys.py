"""Keys for addresses that others reach: the server's own pair, and the clients that are let in.

One folder holds them: `server.secret` (0600) and `clients/NAME.key`, a public key a file. Whoever
holds the secret to one of those is let in under that name. The files have ZeroMQ's certificate
format, so that its own tools read them.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import zmq

from host_plugins import places
from host_plugins.wire.errors import BridgeError

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
KEY_CHARACTERS = 40
_LINE = re.compile(r'^\s*(public-key|secret-key|server-key)\s*=\s*"([^"\s]{40})"\s*$', re.MULTILINE)


@dataclass(frozen=True)
class KeyPair:
    """A CURVE key pair in Z85, 40 characters each. server: the key of the server that it is for."""

    public: str
    secret: str
    server: str = ""

    @classmethod
    def new(cls, server: str = "") -> KeyPair:
        public, secret = zmq.curve_keypair()
        return cls(public.decode(), secret.decode(), server)

    @classmethod
    def load(cls, path: Path) -> KeyPair:
        """Read a secret file; raises BridgeError `auth`."""
        found = _read(path)
        if "public-key" not in found or "secret-key" not in found:
            raise BridgeError(
                "auth",
                f"expected a key pair in {path.name}, got {', '.join(found) or 'no key'}",
                hint="Use the file that 'chromabridge keys new NAME' wrote on the server.",
            )
        return cls(found["public-key"], found["secret-key"], found.get("server-key", ""))

    def save(self, path: Path) -> None:
        """Write a new file that only its owner can read (0600). Raises `output_exists`."""
        lines = {
            "public-key": self.public,
            "secret-key": self.secret,
            **({"server-key": self.server} if self.server else {}),
        }
        _write(path, lines)


class Keyring:
    """The keys of one server, in `folder`. The files are looked at each time something is asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[tuple[str, int, int], ...] | None = None
        self._allowed: dict[str, str] = {}

    @property
    def server_file(self) -> Path:
        return self._folder / "server.secret"

    def server(self, *, make: bool = False) -> KeyPair:
        """The server's pair; made on first need when `make`. Raises `remote_refused`."""
        if not self.server_file.exists():
            if not make:
                raise BridgeError(
                    "remote_refused", "expected keys for an address that others reach, got none"
                )
            places.make_private(self._folder)
            KeyPair.new().save(self.server_file)
        return KeyPair.load(self.server_file)

    def allowed(self) -> Mapping[str, str]:
        """Public key (Z85) -> name of all clients that are let in; read again on any change."""
        seen = tuple(self._listing())
        if seen != self._seen:
            self._allowed = self._read_all([name for name, _, _ in seen])
            self._seen = seen
        return self._allowed

    def new(self, name: str) -> KeyPair:
        """Let in a new client. Returns its pair, whose secret is kept nowhere here.

        Raises BridgeError `bad_param` for a name that is taken or cannot be a file's.
        """
        path = self._client_file(name)
        pair = KeyPair.new(self.server(make=True).public)
        places.make_private(path.parent)
        try:
            _write(path, {"public-key": pair.public})
        except BridgeError:
            raise BridgeError(
                "bad_param",
                f"expected a new name, got {name!r}, which has a key",
                hint=f"Choose another name, or first: chromabridge keys revoke {name}",
            ) from None
        return pair

    def revoke(self, name: str) -> None:
        """Let a client in no more; a running server ends its connections. Raises `bad_param`."""
        try:
            self._client_file(name).unlink()
        except FileNotFoundError:
            raise BridgeError(
                "bad_param",
                f"expected the name of a key, got {name!r}",
                hint="Run 'chromabridge keys list' for the names.",
            ) from None

    def _client_file(self, name: str) -> Path:
        if NAME.fullmatch(name) is None:
            raise BridgeError(
                "bad_param",
                f"expected a name of letters, digits, '.', '_' and '-', got {name[:64]!r}",
                hint="Begin with a letter or digit; 64 characters at most.",
            )
        return self._folder / "clients" / f"{name}.key"

    def _listing(self) -> list[tuple[str, int, int]]:
        """(name, time of change, bytes) of every client's file."""
        found = []
        try:
            with os.scandir(self._folder / "clients") as entries:
                for entry in entries:
                    name, dot, ending = entry.name.rpartition(".")
                    if dot and ending == "key" and NAME.fullmatch(name):
                        told = entry.stat()
                        found.append((name, told.st_mtime_ns, told.st_size))
        except FileNotFoundError:
            return sorted(found)  # none was ever made, or one went while we looked
        return sorted(found)

    def _read_all(self, names: list[str]) -> dict[str, str]:
        allowed: dict[str, str] = {}
        for name in names:
            try:
                key = _read(self._client_file(name)).get("public-key")
            except BridgeError as error:
                log.warning("key %s lets nobody in: %s", name, error.message)
                continue
            if key is None:
                log.warning("key %s lets nobody in: its file holds no public key", name)
            elif key in allowed:
                log.warning("key %s is the same as %s, which counts", name, allowed[key])
            else:
                allowed[key] = name
        return allowed


def _read(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(4096)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise BridgeError("auth", f"{path.name} cannot be read: {reason}") from None
    return {name: key for name, key in _LINE.findall(text)}


def _write(path: Path, keys: Mapping[str, str]) -> None:
    """Write a certificate file, 0600; an existing one is never overwritten."""
    text = "".join(f'    {name} = "{key}"\n' for name, key in keys.items())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BridgeError("output_exists", f"{path.name} exists already") from None
    except OSError as error:
        raise BridgeError(
            "output_not_writable", f"{path.name} cannot be written: {error.strerror}"
        ) from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"metadata\ncurve\n{text}")
