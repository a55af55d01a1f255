"""The client: find or start a server, open a session, stream a clip through it.

    with connect() as server, server.open("starter", exemplars=[still]) as session:
        for colored in session.stream(frames):  # at most session.max_in_flight on their way
            write(colored)

Runs on Python 3.9 with msgpack alone; where pyzmq is importable it is used for the sockets.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from host_plugins.connection import Connection
from host_plugins.launch import ConnectionInfo, connection_file, start_server
from host_plugins.session import (
    PRIORITIES,
    ClipFrame,
    ColoredFrame,
    EventHandler,
    ExemplarPicture,
    Session,
)
from host_plugins.wire import messages as m
from host_plugins.wire.buffers import FILE_ENCODINGS, Buffer
from host_plugins.wire.errors import BridgeError

__all__ = [
    "BridgeError",
    "Buffer",
    "ClipFrame",
    "ColoredFrame",
    "ExemplarPicture",
    "Server",
    "Session",
    "connect",
    "file_buffer",
    "plane",
]


def connect(
    *,
    start: bool = True,
    file: Optional[Path] = None,
    transport: str = "auto",
    name: str = "python",
    version: str = "",
    retry_for_s: float = 30.0,
) -> Server:
    """Connect to this user's server; start one when none runs and `start` is true.

    file: another connection file. transport: "auto", "zmtp" (standard library) or "zmq" (pyzmq).
    name, version: the host, for the server's log and status. retry_for_s: how long a lost
    connection is tried again. Raises BridgeError: no_server, server_not_installed,
    server_start_failed, version, auth.
    """
    path = file or connection_file()

    def find() -> ConnectionInfo:
        return ConnectionInfo.load(path)

    client = {
        "name": name,
        "version": version,
        "pid": os.getpid(),
        "python": platform.python_version(),
    }
    try:
        connection = Connection(find, client=client, transport=transport, retry_for_s=retry_for_s)
    except BridgeError as error:
        if error.code not in ("no_server", "timeout") or not start:
            raise
        start_server(path)
        connection = Connection(find, client=client, transport=transport, retry_for_s=retry_for_s)
    return Server(connection)


class Server:
    """A connected server; a context manager."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def info(self) -> Mapping[str, Any]:
        """What the server said of itself: name, version, pid."""
        return self._connection.welcome.server

    @property
    def effects(self) -> tuple[str, ...]:
        """The ids of the effects that can be opened, the default one first."""
        return self._connection.welcome.effects

    def describe(self, effect: str, *, context: str = "filter") -> Mapping[str, Any]:
        """The effect's descriptor: label, clips, parameters, groups. Raises `unknown_effect`."""
        answer = self._ask(m.Describe(effect, context, self._connection.number()))
        assert isinstance(answer, m.Described)
        return answer.descriptor

    def status(self) -> Mapping[str, Any]:
        """What the server is doing: sessions, queue, workers, memory."""
        answer = self._ask(m.Status(request=self._connection.number()))
        assert isinstance(answer, m.Status)
        return answer.data

    def ping(self) -> str:
        """The server's state; answered at once, however busy the GPU is."""
        answer = self._ask(m.Ping(self._connection.number()))
        assert isinstance(answer, m.Pong)
        return answer.state

    def stop(self) -> None:
        """Ask the server to finish what runs and to end."""
        self._ask(m.Stop(self._connection.number()))

    def open(
        self,
        effect: str,
        parameters: Optional[Mapping[str, Any]] = None,
        exemplars: Sequence[ExemplarPicture] = (),
        *,
        context: str = "filter",
        want: Optional[Mapping[str, Any]] = None,
        priority: str = "batch",
        job: str = "",
        total: int = 0,
        on_event: Optional[EventHandler] = None,
    ) -> Session:
        """Open a session and wait until its network is loaded.

        parameters: by name, those left out keep their default. want: {"dtype": "<f2" | "<f4",
        "confidence": bool, "encoding": "raw" | a file format}. priority: interactive, review or
        batch. job: a key under which a later open may take the work up again. total: how many
        frames there will be, for the server's status; 0 when it is not known. on_event: called
        with name and data while loading. Raises BridgeError: unknown_effect, unknown_param,
        bad_param, exemplar_missing, weights_missing, license_required, ...
        """
        if priority not in PRIORITIES:
            raise BridgeError(
                "bad_param", f"expected priority {', '.join(PRIORITIES)}, got {priority!r}"
            )
        refs = tuple({"id": picture.digest, "fr": picture.index} for picture in exemplars)
        request = m.Open(
            effect, parameters or {}, refs, context, want or {}, PRIORITIES[priority], job, total
        )
        return Session(self._connection, request, exemplars, on_event=on_event)

    def close(self) -> None:
        """End the connection; sessions still open are dropped by the server."""
        self._connection.close()

    def _ask(self, message: m.Message) -> m.Message:
        return self._connection.request(message)


def plane(name: str, array: Any) -> Buffer:
    """A raw plane from a C-contiguous array with `dtype`, `shape` and the buffer protocol (numpy).

    name: "y", "ab" or "rgb". Raises BridgeError `bad_frame` for another type or layout.
    """
    dtype = {"|u1": "u1", "<u2": "<u2", "<f2": "<f2", "<f4": "<f4"}.get(array.dtype.str)
    if dtype is None or not array.flags["C_CONTIGUOUS"]:
        raise BridgeError(
            "bad_frame", f"expected contiguous u1, <u2, <f2 or <f4, got {array.dtype.str}"
        )
    shape = tuple(int(side) for side in array.shape)
    return Buffer(name, dtype, shape, memoryview(array.view("u1").reshape(-1)))


def file_buffer(path: Path) -> Buffer:
    """A picture file as it is, by its ending. Raises `unsupported_format`, `clip_unreadable`."""
    ending = path.suffix.lower().lstrip(".")
    encoding = {"tif": "tiff", "jpg": "jpeg"}.get(ending, ending)
    if encoding not in FILE_ENCODINGS:
        raise BridgeError(
            "unsupported_format",
            f"expected a picture file of {', '.join(FILE_ENCODINGS)}, got {path.name}",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BridgeError("clip_unreadable", f"{path.name} cannot be read: {error}") from None
    return Buffer("file", "u1", (len(data),), data, encoding)
