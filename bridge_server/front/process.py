"""The front process: takes messages from clients, keeps their sessions, feeds the workers.

One thread, one poller. It answers ping, status and cancel at once, however busy a worker is.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from bridge_server import __version__
from bridge_server.effects import registry
from bridge_server.front.session_table import SessionTable
from bridge_server.front.worker_link import WorkerLink
from bridge_server.gate import Gate
from bridge_server.keys import Keyring
from bridge_server.metrics import Metrics
from bridge_server.peers import Peer, Peers, error_message, protocol
from bridge_server.settings import Settings
from host_plugins.launch import ConnectionInfo
from host_plugins.link import CTL, DATA
from host_plugins.wire import messages as m
from host_plugins.wire.buffers import Bytes
from host_plugins.wire.errors import BridgeError

if TYPE_CHECKING:
    from bridge_server.status_page import StatusPage

log = logging.getLogger(__name__)

TICK_S = 0.25
MAX_FILES = 65536
LONGEST_IPC_PATH = 100
LOOPBACK = ("127.0.0.1", "::1", "localhost")
CAPABILITIES = ("resume", "rewind", "confidence")


class Front:
    """See the module. `run` returns when the server has stopped."""

    def __init__(
        self, settings: Settings, *, file: Path, home: Path, log_json: bool = False
    ) -> None:
        self._settings = settings
        self._file = file
        self._home = home
        self._boot = os.urandom(16)
        self._started = time.monotonic()
        self._context = zmq.Context(io_threads=1)
        self._gate = Gate(self._context)
        self._poller = zmq.Poller()
        self._token = os.urandom(32)
        self._peers = Peers(self._gate, self._token, self._welcome)
        self._stopping: float | None = None
        self._worker = WorkerLink(
            "worker-0",
            context=self._context,
            poller=self._poller,
            folder=file.parent,
            home=home,
            settings=asdict(settings),
            log_json=log_json,
        )
        self._table = SessionTable(self._peers, self._worker, settings)
        self._endpoints = self._bind()
        self._metrics = Metrics()
        self._page = _open_page(settings.metrics_port, self._metrics)
        self._handlers: dict[type[m.Message], Callable[[Peer, Any], None]] = {
            m.Ping: self._ping,
            m.Status: self._status,
            m.Describe: self._describe,
            m.Stop: self._stop,
            **self._table.handlers,
        }

    @property
    def info(self) -> ConnectionInfo:
        return ConnectionInfo(self._endpoints, self._token, self._boot, os.getpid(), __version__)

    def run(self, ready: Callable[[ConnectionInfo], None] | None = None) -> None:
        """Serve until a signal or a stop message. ready: called once clients may connect."""
        _allow_many_files()
        self._gate.register(self._poller)
        wakee = self._catch_signals()
        self._poller.register(wakee, zmq.POLLIN)
        self._worker.tend()
        self.info.save(self._file)
        if ready is not None:
            ready(self.info)
        try:
            while self._stopping is None or not self._drained():
                self._poller.poll(int(TICK_S * 1000))
                with suppress(BlockingIOError):
                    wakee.recv(64)
                self._turn()
        finally:
            self._shut_down()

    def _turn(self) -> None:
        """One round: what clients said, what the worker said, and whatever is due."""
        for channel, routing_id, parts in self._gate.receive():
            heard = self._peers.hear(channel, routing_id, parts)
            if heard is not None:
                self._take(channel, *heard, parts)
        for message, parts in self._worker.receive():
            if self._page is not None:
                self._metrics.heard(message, self._table.find(getattr(message, "session", None)))
            self._table.from_worker(message, parts)
        if self._worker.tend():
            self._table.worker_died()
            self._metrics.worker_died()
        if self._worker.up:
            self._table.reopen_lost()
        self._table.pump()
        self._table.sweep()
        if self._page is not None:
            self._metrics.publish(self.status, self._table, self._table.resent)

    # --- from clients ---

    def _take(self, channel: str, peer: Peer, message: m.Message, parts: list[Bytes]) -> None:
        session: bytes | None = getattr(message, "session", None)
        try:
            if isinstance(message, m.Frame) and channel == DATA:
                self._table.frame(peer, message, parts)
            elif isinstance(message, m.Exemplar) and channel == DATA:
                self._table.exemplar(peer, message, parts)
            elif type(message) in self._handlers and channel == CTL:
                self._handlers[type(message)](peer, message)
            else:
                raise BridgeError("unsupported", f"{message.kind!r} has no place on {channel}")
        except BridgeError as error:
            number = getattr(message, "request", 0)
            q = getattr(message, "q", None)
            answer = error_message(error, session=session, q=q, request=number)
            self._peers.send(peer, CTL, answer)
            self._table.refused(session, error)
        except Exception:
            log.exception("%s failed", message.kind)
            failure = BridgeError("internal", f"expected {message.kind} to work, it failed")
            number = getattr(message, "request", 0)
            answer = error_message(failure, session=session, request=number)
            self._peers.send(peer, CTL, answer)

    def _welcome(self, ticket: bytes) -> m.Welcome:
        choices = dict(self._worker.told.get("choices") or {})  # empty until the worker has begun
        told = {
            "name": "chromabridge",
            "version": __version__,
            "pid": os.getpid(),
            "choices": choices,
        }
        return m.Welcome(protocol(), told, self._boot, ticket, CAPABILITIES, registry.offered())

    def _ping(self, peer: Peer, ping: m.Ping) -> None:
        state = "stopping" if self._stopping else "busy" if self._worker.running else "idle"
        if not self._worker.up:
            state = "starting"
        age = self._worker.pong.step_ms if self._worker.pong else 0
        self._peers.send(peer, CTL, m.Pong(self._boot, state, age, ping.request))

    def _status(self, peer: Peer, request: m.Status) -> None:
        self._peers.send(peer, CTL, m.Status(self.status(), request.request))

    def _describe(self, peer: Peer, request: m.Describe) -> None:
        effect = registry.find(request.effect)
        context: Any = request.context
        descriptor = effect.describe_in_context(context).to_map()
        self._peers.send(peer, CTL, m.Described(effect.id, descriptor, request.request))

    def _stop(self, peer: Peer, stop: m.Stop) -> None:
        if peer.key_name:
            raise BridgeError("unsupported", "expected stop from this machine, got it from another")
        log.info("%s asks to stop", peer.name)
        self._peers.send(peer, CTL, m.Stop(stop.request))
        self._begin_stop()

    # --- the whole ---

    def status(self) -> dict[str, Any]:
        """What `chromabridge status` shows; plain values within the wire's limits."""
        now = time.monotonic()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(now - self._started, 1),
            "state": "stopping" if self._stopping else "running",
            "clients": len(self._peers),
            "worker": {
                "up": self._worker.up,
                "pid": self._worker.pid or 0,
                "deaths": self._worker.deaths,
                "doing": self._worker.pong.state if self._worker.pong else "starting",
                "memory": dict(self._worker.told.get("memory") or {}),
            },
            "sessions": [
                {
                    "id": record.id.hex()[:8],
                    "client": record.user,
                    "effect": record.effect,
                    "done": record.frames_done,
                    "total": record.total,
                    "waiting": len(record.queue),
                    "fps": round(record.frames_done / max(1e-3, now - record.opened_at), 2),
                    "parked": record.peer is None,
                    "priority": record.priority,
                }
                for record in list(self._table)[:32]
            ],
        }

    def _bind(self) -> dict[str, dict[str, str]]:
        settings = self._settings
        local = settings.host in LOOPBACK
        wanted = _tcp(settings.host, settings.port, settings.data_port)
        endpoints = {"tcp": self._gate.bind("tcp", wanted if local else _tcp(LOOPBACK[0]))}
        if not local:
            endpoints["curve"] = self._gate.bind_remote(wanted, Keyring(self._home / "keys"))
        folder = self._file.parent
        longest = max(len(str(folder / f"{channel}.sock")) for channel in (CTL, DATA))
        if os.name == "posix" and longest <= LONGEST_IPC_PATH:
            addresses = {channel: f"ipc://{folder / f'{channel}.sock'}" for channel in (CTL, DATA)}
            endpoints["ipc"] = self._gate.bind("ipc", addresses)
        return endpoints

    def _catch_signals(self) -> socket.socket:
        """The first signal drains, the second ends at once."""
        waker, wakee = socket.socketpair()
        waker.setblocking(False)
        wakee.setblocking(False)

        def stop(number: int, frame: object) -> None:
            if self._stopping is not None:
                raise SystemExit(1)
            self._begin_stop()
            waker.send(b"s")

        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), stop)
        self._waker = waker
        return wakee

    def _begin_stop(self) -> None:
        if self._stopping is None:
            self._stopping = time.monotonic()
            self._table.closed_to_new = True

    def _drained(self) -> bool:
        """Nothing runs any more; frames that were not begun are the client's to send again."""
        assert self._stopping is not None
        self._table.drop_queues()
        return not self._table.busy or time.monotonic() - self._stopping > 30.0

    def _shut_down(self) -> None:
        for peer in self._peers:
            self._peers.send(peer, CTL, m.Bye("the server stops"))
        if self._page is not None:
            self._page.close()
        self._worker.stop()
        with suppress(FileNotFoundError):
            self._file.unlink()
        self._gate.close(linger_ms=500)
        for channel in (CTL, DATA):
            with suppress(FileNotFoundError):
                (self._file.parent / f"{channel}.sock").unlink()
        self._context.term()


def _open_page(port: int, metrics: Metrics) -> StatusPage | None:
    if port == 0:
        return None
    from bridge_server.status_page import StatusPage

    return StatusPage(port, metrics)


def _allow_many_files() -> None:
    """A connection is an open file: take as many as we may, so that a crowd shuts nobody out."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if 0 <= soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _tcp(host: str, port: int = 0, data_port: int = 0) -> dict[str, str]:
    return {CTL: f"tcp://{host}:{port or '*'}", DATA: f"tcp://{host}:{data_port or '*'}"}
