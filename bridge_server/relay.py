"""The relay: hosts of this machine find it as if it were their own server; it works far away.

In: loopback, with a connection file and token of its own. Out: CURVE, a connection for each client.
The handshake ends here on both sides; everything else passes through as it came, so sessions,
credit and resume are between the host and the real server.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq

from bridge_server import __version__
from bridge_server.gate import Gate, Waker
from bridge_server.peers import KEYED_TOKEN, Peer, Peers
from host_plugins.connection import shake_hands
from host_plugins.launch import ConnectionInfo
from host_plugins.link import CTL, DATA
from host_plugins.wire import messages as m
from host_plugins.wire.buffers import Bytes
from host_plugins.wire.errors import BridgeError
from host_plugins.zmq_link import Curve, ZmqLink

log = logging.getLogger(__name__)

TICK_MS = 250
#: the onward handshake ends before the client's own patience does
HANDSHAKE_S = 2.0
#: how long a server that did not answer is not asked again, so that many clients cost one wait
AWAY_S = 1.0
#: pixels that may wait here until a client reads them
UNREAD_BYTES = 256 * 1024 * 1024
AWAY_CODES = ("no_server", "timeout", "disconnected")


@dataclass(frozen=True)
class Target:
    """Where the real server is, {"ctl": ..., "data": ...} of tcp://, and the keys for it."""

    endpoints: dict[str, str]
    curve: Curve

    def connect(self, client: Mapping[str, Any]) -> tuple[ZmqLink, m.Welcome]:
        """A link that has shaken hands. Raises BridgeError `no_server`, `auth`, `timeout`."""
        link = ZmqLink(self.endpoints, curve=self.curve)
        try:
            return link, shake_hands(link, KEYED_TOKEN, client, timeout_s=HANDSHAKE_S)
        except BaseException:
            link.close()
            raise


class Relay:
    """One thread, one poller. `run` returns after `stop`, or when a client asks it to stop."""

    def __init__(self, target: Target, *, file: Path) -> None:
        self._target = target
        self._file = file
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._gate = Gate(self._context)
        self._waker = Waker()
        self._token = os.urandom(32)
        self._peers = Peers(self._gate, self._token, self._welcome)
        self._links: dict[bytes, ZmqLink] = {}
        #: links that are not read from, since their client does not read either
        self._stalled: set[bytes] = set()
        self._away: tuple[float, BridgeError] | None = None
        self._poller = zmq.Poller()
        self._stopping = threading.Event()

    def run(self, ready: Callable[[ConnectionInfo], None] | None = None) -> None:
        """Serve until stopped. ready: called once clients may connect.

        Raises BridgeError when the real server cannot be reached, or does not let this key in.
        """
        told = {"name": "chromabridge relay", "version": __version__, "pid": os.getpid()}
        try:
            self._target.connect(told)[0].close()
            loopback = {channel: "tcp://127.0.0.1:*" for channel in (CTL, DATA)}
            endpoints = {"tcp": self._gate.bind("tcp", loopback)}
            info = ConnectionInfo(endpoints, self._token, os.urandom(16), os.getpid(), __version__)
            self._gate.register(self._poller)
            self._waker.register(self._poller)
            info.save(self._file)
            if ready is not None:
                ready(info)
            while not self._stopping.is_set():
                self._poller.poll(TICK_MS)
                self._waker.drain()
                self._turn()
        finally:
            self._shut_down()

    def stop(self) -> None:
        """End `run`; from a signal's handler or another thread."""
        self._stopping.set()
        self._waker.wake()

    def _turn(self) -> None:
        for channel, address, parts in self._gate.receive():
            heard = self._peers.hear(channel, address, parts)
            if heard is None:
                continue
            peer, message = heard
            if isinstance(message, m.Stop):
                self._peers.send(peer, CTL, m.Stop(message.request))
                self._stopping.set()
            else:
                self._outward(peer, channel, parts)
            if isinstance(message, m.Bye):
                self._cut(peer.ticket)
        for peer in self._peers:
            self._inward(peer)
        for peer in self._peers.silent():
            self._cut(peer.ticket)
        alive = {peer.ticket for peer in self._peers}
        for ticket in [ticket for ticket in self._links if ticket not in alive]:
            self._cut(ticket)

    def _outward(self, peer: Peer, channel: str, parts: list[Bytes]) -> None:
        if peer.ticket in self._links:
            try:
                self._links[peer.ticket].send(channel, parts)
            except BridgeError as error:
                self._lost(peer, error)

    def _inward(self, peer: Peer) -> None:
        if peer.ticket in self._links and not self._stall(peer):
            try:
                for channel, parts in self._links[peer.ticket].poll(0):
                    self._peers.forward(peer, channel, parts)
            except BridgeError as error:
                self._lost(peer, error)

    def _stall(self, peer: Peer) -> bool:
        """Whether this client leaves so much unread that the server has to wait for it."""
        stalled = self._peers.unsent(peer) > UNREAD_BYTES
        if stalled and peer.ticket not in self._stalled:
            self._stalled.add(peer.ticket)
            self._links[peer.ticket].unregister(self._poller)
        elif not stalled and peer.ticket in self._stalled:
            self._stalled.discard(peer.ticket)
            self._links[peer.ticket].register(self._poller)
        return stalled

    def _lost(self, peer: Peer, error: BridgeError) -> None:
        """The way to the server broke: the client has to come anew, and then resumes."""
        log.warning("%s: the server is lost: %s", peer.name, error)
        self._peers.send(peer, CTL, m.Bye("the relay lost the server"))
        self._peers.forget(peer)
        self._cut(peer.ticket)

    def _welcome(self, ticket: bytes) -> m.Welcome:
        """Connect the new client onward; it is greeted as the server greets.

        Raises BridgeError `away` while the server does not answer.
        """
        link, welcome = self._onward()
        self._links[ticket] = link
        link.register(self._poller)
        return m.Welcome(
            welcome.protocol,
            welcome.server,
            welcome.boot,
            ticket,
            welcome.capabilities,
            welcome.effects,
        )

    def _onward(self) -> tuple[ZmqLink, m.Welcome]:
        if self._away is not None and time.monotonic() < self._away[0]:
            raise self._away[1]
        told = {"name": "chromabridge relay", "version": __version__, "pid": os.getpid()}
        try:
            connected = self._target.connect(told)
        except BridgeError as error:
            if error.code not in AWAY_CODES:
                raise
            away = BridgeError(
                "away",
                f"this relay expected its server to answer, got: {error.message}",
                retry=True,
            )
            self._away = time.monotonic() + AWAY_S, away
            raise away from None
        self._away = None
        return connected

    def _cut(self, ticket: bytes) -> None:
        link = self._links.pop(ticket, None)
        if link is not None:
            if ticket not in self._stalled:
                link.unregister(self._poller)
            self._stalled.discard(ticket)
            link.close(linger_ms=500)

    def _shut_down(self) -> None:
        for peer in self._peers:
            self._peers.send(peer, CTL, m.Bye("the relay stops"))
        for ticket in list(self._links):
            self._cut(ticket)
        with suppress(FileNotFoundError):
            if self._is_mine():
                self._file.unlink()
        self._gate.close(linger_ms=500)
        self._waker.close()
        self._context.term()

    def _is_mine(self) -> bool:
        """The connection file is the one that this relay wrote."""
        try:
            return ConnectionInfo.load(self._file).token == self._token
        except BridgeError:
            return False
