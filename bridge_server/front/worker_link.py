"""A worker process and the connection to it: started, watched, and started again when it dies."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import zmq

from host_plugins.launch import ConnectionInfo
from host_plugins.link import CTL, DATA
from host_plugins.wire import messages as m
from host_plugins.wire.auth import NONCE_BYTES, is_proof, proof
from host_plugins.wire.buffers import Bytes
from host_plugins.wire.errors import BridgeError
from host_plugins.wire.framing import decode, encode
from host_plugins.wire.limits import MAX_DATA_PART_BYTES
from host_plugins.wire.version import PROTOCOL_MAJOR, PROTOCOL_MINOR

log = logging.getLogger(__name__)

#: frames that a worker holds at once: one runs, one waits, so that transport is hidden
FRAMES_AHEAD = 2
PING_S = 1.0
RESTART_PAUSE_S = (0.0, 0.5, 2.0, 5.0, 10.0)
#: a worker that ran so long is healthy: the next death starts with a short pause again
HEALTHY_S = 60.0


class WorkerLink:
    """One worker. States: starting -> shaking hands -> up; any -> down -> starting."""

    def __init__(
        self,
        name: str,
        *,
        context: zmq.Context[zmq.Socket[bytes]],
        poller: zmq.Poller,
        folder: Path,
        home: Path,
        settings: Mapping[str, Any],
        log_json: bool = False,
    ) -> None:
        self.name = name
        self.up = False
        self._out: set[tuple[bytes, int]] = set()
        self.pong: m.Pong | None = None
        #: what it said of itself last: loaded networks, sessions, and the device's memory
        self.told: Mapping[str, Any] = {}
        self.deaths = 0
        self._context = context
        self._poller = poller
        self._folder = folder
        self._home = home
        self._settings = settings
        self._log_json = log_json
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._restart_at = 0.0
        self._started_at = 0.0
        self._next_ping = 0.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> int:
        """How many frames it holds: one runs, others wait."""
        return len(self._out)

    @property
    def has_room(self) -> bool:
        return self.up and self.running < FRAMES_AHEAD

    def give(self, session: bytes, q: int, parts: list[Bytes]) -> None:
        """Hand over a frame."""
        self._out.add((session, q))
        self.forward(DATA, parts)

    def took_back(self, session: bytes, q: int | None = None) -> None:
        """A frame is done; without `q`, none of the session's frames is on its way any more."""
        if q is None:
            self._out = {key for key in self._out if key[0] != session}
        else:
            self._out.discard((session, q))

    def tend(self) -> bool:
        """Start, connect, watch; called often. Returns True when the worker has just died."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._restart_at:
                self._start()
            return False
        code = self._process.poll()
        if code is not None:
            self._bury(code)
            return True
        if not self._sockets and self._answer.exists():
            self._connect()
        if self.up and now >= self._next_ping:
            self._next_ping = now + PING_S
            self.send(CTL, m.Ping())
            self.send(CTL, m.Status())
        return False

    def send(self, channel: str, message: m.Message) -> None:
        self.forward(channel, encode(message))

    def forward(self, channel: str, parts: list[Bytes]) -> None:
        """Send parts as they are; what a dying worker does not take is noticed by tend."""
        sock = self._sockets.get(channel)
        if sock is None:
            return
        with suppress(zmq.Again):
            for number, part in enumerate(parts):
                more = zmq.SNDMORE if number < len(parts) - 1 else 0
                sock.send(part, zmq.NOBLOCK | more, copy=False)

    def receive(self) -> list[tuple[m.Message, list[Bytes]]]:
        """Messages with the parts they came in; handshake and pongs are kept here.

        Results come first: a rewind on the other socket counts on those sent before it.
        """
        arrived: list[tuple[m.Message, list[Bytes]]] = []
        for _, sock in sorted(self._sockets.items(), key=lambda item: item[0] != DATA):
            while True:
                try:
                    frames = sock.recv_multipart(zmq.NOBLOCK, copy=False)
                except zmq.Again:
                    break
                parts: list[Bytes] = [frame.buffer for frame in frames]
                message = decode(parts)
                if isinstance(message, m.Pong):
                    self.pong = message
                elif isinstance(message, m.Status):
                    self.told = message.data
                elif not self._shake_hands(message):
                    arrived.append((message, parts))
        return arrived

    def stop(self, patience_s: float = 10.0) -> None:
        """Ask the worker to end, wait, and kill it when it does not."""
        if self._process is None:
            return
        self.send(CTL, m.Stop())
        if self._process.stdin is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=patience_s if self.up else 0.1)
            self._process.stdin.close()
        try:
            self._process.wait(timeout=3.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._disconnect()
        self._forget_files()

    # --- process ---

    @property
    def _setup(self) -> Path:
        return self._folder / f"{self.name}.setup.json"

    @property
    def _answer(self) -> Path:
        return self._folder / f"{self.name}.json"

    def _start(self) -> None:
        self._forget_files()
        self._token = os.urandom(32)
        setup = {
            "token": self._token.hex(),
            "bind": {CTL: "tcp://127.0.0.1:*", DATA: "tcp://127.0.0.1:*"},
            "answer": str(self._answer),
            "home": str(self._home),
            "settings": dict(self._settings),
            "log_level": self._settings["log_level"],
            "log_json": self._log_json,
        }
        descriptor = os.open(self._setup, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(setup, file)
        command = [sys.executable, "-I", "-m", "bridge_server.worker.process"]
        self._process = subprocess.Popen(
            [*command, "--setup", str(self._setup)],
            stdin=subprocess.PIPE,
            env=_environment(),
        )
        self._started_at = time.monotonic()
        log.info("%s started, pid %d", self.name, self._process.pid)

    def _bury(self, code: int) -> None:
        healthy = time.monotonic() - self._started_at > HEALTHY_S
        self.deaths = 1 if healthy else self.deaths + 1
        pause = RESTART_PAUSE_S[min(self.deaths - 1, len(RESTART_PAUSE_S) - 1)]
        log.error("%s ended with code %s; starting it again in %.1f s", self.name, code, pause)
        self._restart_at = time.monotonic() + pause
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None
        self._disconnect()

    def _disconnect(self) -> None:
        for sock in self._sockets.values():
            self._poller.unregister(sock)
            sock.close(linger=0)
        self._sockets = {}
        self.told = {}
        self.up = False
        self._out.clear()

    def _forget_files(self) -> None:
        for path in (self._setup, self._answer):
            with suppress(FileNotFoundError):
                path.unlink()

    # --- connection ---

    def _connect(self) -> None:
        endpoints = ConnectionInfo.load(self._answer).endpoints["tcp"]
        for channel, address in endpoints.items():
            sock = self._context.socket(zmq.DEALER)
            sock.linger = 0
            sock.sndhwm = 0
            sock.maxmsgsize = MAX_DATA_PART_BYTES
            sock.connect(address)
            self._poller.register(sock, zmq.POLLIN)
            self._sockets[channel] = sock
        self._nonce = os.urandom(NONCE_BYTES)
        told = {"name": "front", "pid": os.getpid()}
        self.send(CTL, m.Hello((PROTOCOL_MAJOR, PROTOCOL_MINOR), told, self._nonce))

    def _shake_hands(self, message: m.Message) -> bool:
        if isinstance(message, m.Challenge):
            if not is_proof(message.proof, self._token, "server", self._nonce, message.nonce):
                raise BridgeError("auth", f"{self.name} is not the worker that was started")
            answer = proof(self._token, "client", self._nonce, message.nonce)
            self.send(CTL, m.Prove(answer))
        elif isinstance(message, m.Welcome):
            self.send(DATA, m.Attach(message.ticket))
        elif isinstance(message, m.Attached):
            self.up = True
            log.info("%s is up after %.1f s", self.name, time.monotonic() - self._started_at)
        else:
            return False
        return True


def _environment() -> dict[str, str]:
    """Threads that wait for each other sleep: spinning ones cost many times the work where cores
    are shared with a host.
    """
    environment = dict(os.environ)
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return environment
