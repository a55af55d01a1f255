"""Finding a running server by its connection file, and starting one where there is none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from host_plugins import places
from host_plugins.wire.errors import BridgeError

FILE_NAME = "server.json"
START_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class ConnectionInfo:
    """What a client needs to reach a server; kept in a file that only its user can read.

    endpoints: for each transport ("ipc", "tcp") the addresses {"ctl": ..., "data": ...}.
    """

    endpoints: dict[str, dict[str, str]]
    token: bytes
    boot: bytes
    pid: int
    version: str

    def best_endpoints(self) -> dict[str, str]:
        """The Unix socket where it exists, loopback TCP otherwise."""
        ipc = self.endpoints.get("ipc")
        if ipc and all(Path(address[len("ipc://") :]).exists() for address in ipc.values()):
            return ipc
        return self.endpoints["tcp"]

    def save(self, path: Path) -> None:
        """Write atomically, readable by its owner alone (0600)."""
        text = json.dumps(
            {
                "endpoints": self.endpoints,
                "token": self.token.hex(),
                "boot": self.boot.hex(),
                "pid": self.pid,
                "version": self.version,
            },
            indent=1,
        )
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> ConnectionInfo:
        """Read a connection file; raises BridgeError `no_server` when there is no good one."""
        try:
            data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                endpoints=dict(data["endpoints"]),
                token=bytes.fromhex(data["token"]),
                boot=bytes.fromhex(data["boot"]),
                pid=int(data["pid"]),
                version=str(data["version"]),
            )
        except FileNotFoundError:
            raise BridgeError("no_server", "no ChromaBridge server is running") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BridgeError(
                "no_server",
                f"the connection file cannot be used: {error}",
                hint="Stop and start the server; it writes the file anew.",
            ) from None


def connection_file() -> Path:
    """Where this user's server writes its connection file."""
    return places.runtime() / FILE_NAME


def server_command() -> list[str]:
    """The command that starts the server, without arguments.

    CHROMABRIDGE_SERVER, else what the installer noted in the user's folder, else the command beside
    this interpreter, else the one on PATH. Raises BridgeError `server_not_installed`.
    """
    named = os.environ.get("CHROMABRIDGE_SERVER")
    if named:
        return [named]
    with suppress(OSError, ValueError, KeyError):
        noted = json.loads((places.home() / "install.json").read_text(encoding="utf-8"))
        command = [str(word) for word in noted["server_command"]]
        if command and Path(command[0]).exists():
            return command
    script = "chromabridge.exe" if os.name == "nt" else "chromabridge"
    beside = Path(sys.executable).with_name(script)
    found = str(beside) if beside.exists() else shutil.which("chromabridge")
    if not found:
        raise BridgeError("server_not_installed", "no ChromaBridge server is installed here")
    return [found]


def start_server(
    path: Path, *, arguments: Sequence[str] = (), timeout_s: float = START_TIMEOUT_S
) -> ConnectionInfo:
    """Start a server in the background and wait for its connection file.

    The process is detached: it outlives the host, and no console window opens. Two clients that
    start one at the same moment get the same server, since the second one steps back.
    Raises BridgeError `server_not_installed` or `server_start_failed`.
    """
    before = _boot_in(path)  # of a killed server: its file is still there
    log = places.make_private(places.home()) / "server.log"
    command = [*server_command(), "serve", "--log-file", str(log), *arguments]
    options: dict[str, Any] = {}
    if os.name == "nt":
        options["creationflags"] = 0x00000008 | 0x00000200  # DETACHED_PROCESS, new group
    else:
        options["start_new_session"] = True
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_clean_environment(),
            **options,
        )
    except OSError as error:
        raise BridgeError(
            "server_start_failed", f"the server could not be started: {error}"
        ) from None
    ended = threading.Thread(target=process.wait, name="chromabridge-reaper", daemon=True)
    ended.start()
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        now = _boot_in(path)
        if now is not None and (now != before or not ended.is_alive()):
            return ConnectionInfo.load(path)
        if not ended.is_alive():
            code = process.returncode
            raise BridgeError(
                "server_start_failed", f"the server ended with code {code}; its log is {log}"
            )
        time.sleep(0.02)
    raise BridgeError("server_start_failed", f"no server after {timeout_s:.0f} s; its log is {log}")


def _boot_in(path: Path) -> Optional[bytes]:
    """The boot id in a connection file; None when there is no good one."""
    try:
        return ConnectionInfo.load(path).boot
    except BridgeError:
        return None


def _clean_environment() -> dict[str, str]:
    """The environment without what a host sets for its own Python."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONEXECUTABLE")
    }
