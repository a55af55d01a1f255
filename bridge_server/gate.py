"""The server side of the two sockets; the only module of the server that touches zmq sockets.

Every limit that libzmq can hold is set here. A gate belongs to one thread.

A gate may have two doors: the local one (loopback, Unix socket), and one for other machines, where
CURVE encrypts and only clients of the allow-list pass. A peer's address begins with the door that
it came through, and behind the second one with its key; so nobody can take another's address.
"""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import zmq
from zmq.utils import z85

from bridge_server.keys import KEY_CHARACTERS, Keyring
from host_plugins.link import CHANNELS, CTL, DATA
from host_plugins.wire.buffers import Bytes
from host_plugins.wire.errors import BridgeError
from host_plugins.wire.limits import MAX_CTL_PART_BYTES, MAX_DATA_PART_BYTES

log = logging.getLogger(__name__)

HANDSHAKE_MS = 5000
HEARTBEAT_MS = 1000
SILENCE_MS = 10_000
#: messages that may wait for one peer; credit keeps it far below, reaching it means a dead peer
SEND_HIGH_WATER = 256
#: messages of one peer that libzmq reads ahead of us; a flood beyond it waits in the peer
RECEIVE_HIGH_WATER = {CTL: 256, DATA: 16}
COPY_BYTES = 64 * 1024
LOCAL, REMOTE = b"L", b"R"
ZAP_ADDRESS = "inproc://zeromq.zap.01"
ZAP_DOMAIN = b"chromabridge"


class PeerGone(Exception):
    """The peer that a message was for is not there any more."""


class Gate:
    """A ROUTER for ctl and a ROUTER for data, bound to the same kinds of address, for each door."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._context = context
        self._doors = {LOCAL: _routers(context)}
        self._keyring: Keyring | None = None
        self._zap: zmq.Socket[bytes] | None = None
        self._unsent: dict[bytes, deque[tuple[zmq.MessageTracker, int]]] = {}

    def bind(self, name: str, addresses: dict[str, str]) -> dict[str, str]:
        """Bind both local sockets; returns the real addresses, with the port that was found.

        name: "tcp" or "ipc", for the message. Raises BridgeError `port_taken`.
        """
        return _bind(self._doors[LOCAL], name, addresses)

    def bind_remote(self, addresses: dict[str, str], keyring: Keyring) -> dict[str, str]:
        """Open the door for other machines, to holders of a key that the keyring allows.

        Returns the real addresses. Raises BridgeError `remote_refused`, `port_taken`.
        """
        pair = keyring.server()
        if not keyring.allowed():
            raise BridgeError("remote_refused", "expected a client that is let in, got no key")
        self._keyring = keyring
        self._zap = self._context.socket(zmq.REP)
        self._zap.linger = 0
        self._zap.bind(ZAP_ADDRESS)
        self._doors[REMOTE] = _routers(self._context)
        for sock in self._doors[REMOTE].values():
            sock.curve_server = True
            sock.curve_secretkey = pair.secret.encode()
            sock.zap_domain = ZAP_DOMAIN
            sock.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        return _bind(self._doors[REMOTE], "curve", addresses)

    def register(self, poller: zmq.Poller) -> None:
        for sock in self._sockets():
            poller.register(sock, zmq.POLLIN)

    def receive(self, most: int = 64) -> list[tuple[str, bytes, list[Bytes]]]:
        """What has come: (channel, peer's address, parts), at most `most` messages a socket."""
        self._judge_keys(most)
        arrived = []
        for door, sockets in self._doors.items():
            for channel, sock in sockets.items():
                for _ in range(most):
                    try:
                        frames = sock.recv_multipart(zmq.NOBLOCK, copy=False)
                    except zmq.Again:
                        break
                    key = _user_id(frames[-1]) if door == REMOTE else b""
                    address = door + key + frames[0].bytes
                    arrived.append((channel, address, [_content(f) for f in frames[1:]]))
        return arrived

    def send(self, channel: str, peer: bytes, parts: Sequence[Bytes]) -> None:
        """Send a message to one peer, without waiting. Raises PeerGone."""
        door = peer[:1]
        sock = self._doors[door][channel]
        try:
            sock.send(peer[_prefix(door) :], zmq.NOBLOCK | zmq.SNDMORE)
            for number, part in enumerate(parts):
                more = zmq.SNDMORE if number < len(parts) - 1 else 0
                size = part.nbytes if isinstance(part, memoryview) else len(part)
                if size < COPY_BYTES:
                    sock.send(part, zmq.NOBLOCK | more)
                else:
                    on_its_way = sock.send(part, zmq.NOBLOCK | more, copy=False, track=True)
                    self._note(peer, on_its_way, size)
        except zmq.ZMQError as error:
            raise PeerGone(str(error)) from None

    def unsent(self, peer: bytes) -> int:
        """How many bytes of large parts for this peer have not left yet."""
        waiting = self._unsent.get(peer)
        if waiting is None:
            return 0
        left = deque(item for item in waiting if not item[0].done)
        if left:
            self._unsent[peer] = left
        else:
            del self._unsent[peer]
        return sum(size for _, size in left)

    def key_name(self, peer: bytes) -> str:
        """The name of the key that a remote peer holds; empty for a local one.

        Raises BridgeError `auth` when the key is not let in any more.
        """
        if peer[:1] == LOCAL:
            return ""
        assert self._keyring is not None
        name = self._keyring.allowed().get(peer[1 : 1 + KEY_CHARACTERS].decode("ascii"))
        if name is None:
            raise BridgeError("auth", "expected a key that is let in, got one that was revoked")
        return name

    def close(self, linger_ms: int = 0) -> None:
        """Close all sockets, giving what is queued so much time to leave."""
        for sock in self._sockets():
            sock.close(linger=linger_ms)

    def _sockets(self) -> list[zmq.Socket[bytes]]:
        found = [sock for door in self._doors.values() for sock in door.values()]
        return found if self._zap is None else [*found, self._zap]

    def _note(self, peer: bytes, on_its_way: zmq.MessageTracker, size: int) -> None:
        self._unsent.setdefault(peer, deque()).append((on_its_way, size))
        if len(self._unsent[peer]) > SEND_HIGH_WATER or len(self._unsent) > SEND_HIGH_WATER:
            for each in list(self._unsent):  # what left long ago, and peers that are gone
                self.unsent(each)

    def _judge_keys(self, most: int) -> None:
        """Answer libzmq's questions (RFC 27, ZAP) whether a key may come in; no answer is a no."""
        if self._zap is None or self._keyring is None:
            return
        for _ in range(most):
            try:
                asked = self._zap.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            version, number, domain, address, _, mechanism, *credentials = asked
            key = z85.encode(credentials[0]) if mechanism == b"CURVE" else b""
            name = self._keyring.allowed().get(key.decode("ascii"))
            good = domain == ZAP_DOMAIN and name is not None
            if not good:
                log.warning("refused a key from %s", address.decode("ascii", "replace"))
            status = (b"200", b"OK", key) if good else (b"400", b"this key is not let in", b"")
            self._zap.send_multipart([version, number, *status, b""])


class Waker:
    """Ends a poll in the thread that owns a gate, from any other thread."""

    def __init__(self) -> None:
        self._in, self._out = socket.socketpair()
        self._in.setblocking(False)
        self._out.setblocking(False)

    def wake(self) -> None:
        with suppress(BlockingIOError):  # full: it wakes anyway
            self._out.send(b"w")

    def register(self, poller: zmq.Poller) -> None:
        poller.register(self._in, zmq.POLLIN)

    def drain(self) -> None:
        with suppress(BlockingIOError):
            while self._in.recv(4096):
                pass

    def close(self) -> None:
        self._in.close()
        self._out.close()


def _routers(context: zmq.Context[zmq.Socket[bytes]]) -> dict[str, zmq.Socket[bytes]]:
    return {
        CTL: _router(context, MAX_CTL_PART_BYTES, RECEIVE_HIGH_WATER[CTL]),
        DATA: _router(context, MAX_DATA_PART_BYTES, RECEIVE_HIGH_WATER[DATA]),
    }


def _bind(
    sockets: dict[str, zmq.Socket[bytes]], name: str, addresses: dict[str, str]
) -> dict[str, str]:
    bound = {}
    for channel in CHANNELS:
        try:
            sockets[channel].bind(addresses[channel])
        except zmq.ZMQError as error:
            raise BridgeError(
                "port_taken", f"{name} address {addresses[channel]} cannot be bound: {error}"
            ) from None
        bound[channel] = str(sockets[channel].get_string(zmq.LAST_ENDPOINT))
    return bound


def _prefix(door: bytes) -> int:
    """How many bytes of an address come before the routing id."""
    return 1 if door == LOCAL else 1 + KEY_CHARACTERS


def _user_id(frame: zmq.Frame) -> bytes:
    """The key that libzmq itself attaches to what came over a CURVE connection."""
    return str(frame.get("User-Id")).encode("ascii")


def _router(
    context: zmq.Context[zmq.Socket[bytes]], largest_part: int, read_ahead: int
) -> zmq.Socket[bytes]:
    sock = context.socket(zmq.ROUTER)
    sock.maxmsgsize = largest_part
    sock.router_mandatory = 1
    sock.linger = 0
    sock.sndhwm = SEND_HIGH_WATER
    sock.rcvhwm = read_ahead
    sock.handshake_ivl = HANDSHAKE_MS
    sock.heartbeat_ivl = HEARTBEAT_MS
    sock.heartbeat_timeout = SILENCE_MS
    return sock


def _content(frame: zmq.Frame) -> Bytes:
    """Small parts as bytes; large ones as a view that keeps the frame alive, uncopied."""
    return frame.buffer if len(frame) >= COPY_BYTES else frame.bytes
