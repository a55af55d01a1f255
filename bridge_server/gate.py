"""The server side of the two sockets; the only module of the server that touches zmq sockets.

Every limit that libzmq can hold is set here. A gate belongs to one thread.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress

import zmq

from host_plugins.link import CHANNELS, CTL, DATA
from host_plugins.wire.buffers import Bytes
from host_plugins.wire.errors import BridgeError
from host_plugins.wire.limits import MAX_CTL_PART_BYTES, MAX_DATA_PART_BYTES

HANDSHAKE_MS = 5000
HEARTBEAT_MS = 1000
SILENCE_MS = 10_000
#: messages that may wait for one peer; credit keeps it far below, reaching it means a dead peer
SEND_HIGH_WATER = 256
COPY_BYTES = 64 * 1024


class PeerGone(Exception):
    """The peer that a message was for is not there any more."""


class Gate:
    """A ROUTER for ctl and a ROUTER for data, bound to the same kinds of address."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._sockets = {
            CTL: _router(context, MAX_CTL_PART_BYTES),
            DATA: _router(context, MAX_DATA_PART_BYTES),
        }

    def bind(self, name: str, addresses: dict[str, str]) -> dict[str, str]:
        """Bind both sockets; returns the real addresses, with the port that was found.

        name: "tcp" or "ipc", for the message. Raises BridgeError `port_taken`.
        """
        bound = {}
        for channel in CHANNELS:
            try:
                self._sockets[channel].bind(addresses[channel])
            except zmq.ZMQError as error:
                raise BridgeError(
                    "port_taken", f"{name} address {addresses[channel]} cannot be bound: {error}"
                ) from None
            bound[channel] = str(self._sockets[channel].get_string(zmq.LAST_ENDPOINT))
        return bound

    def register(self, poller: zmq.Poller) -> None:
        for sock in self._sockets.values():
            poller.register(sock, zmq.POLLIN)

    def receive(self, most: int = 64) -> list[tuple[str, bytes, list[Bytes]]]:
        """What has come: (channel, routing id, parts), at most `most` messages a socket."""
        arrived = []
        for channel, sock in self._sockets.items():
            for _ in range(most):
                try:
                    frames = sock.recv_multipart(zmq.NOBLOCK, copy=False)
                except zmq.Again:
                    break
                arrived.append((channel, frames[0].bytes, [_content(f) for f in frames[1:]]))
        return arrived

    def send(self, channel: str, peer: bytes, parts: Sequence[Bytes]) -> None:
        """Send a message to one peer, without waiting. Raises PeerGone."""
        sock = self._sockets[channel]
        try:
            sock.send(peer, zmq.NOBLOCK | zmq.SNDMORE)
            for number, part in enumerate(parts):
                more = zmq.SNDMORE if number < len(parts) - 1 else 0
                size = part.nbytes if isinstance(part, memoryview) else len(part)
                sock.send(part, zmq.NOBLOCK | more, copy=size < COPY_BYTES)
        except zmq.ZMQError as error:
            raise PeerGone(str(error)) from None

    def close(self, linger_ms: int = 0) -> None:
        """Close both sockets, giving what is queued so much time to leave."""
        for sock in self._sockets.values():
            sock.close(linger=linger_ms)


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


def _router(context: zmq.Context[zmq.Socket[bytes]], largest_part: int) -> zmq.Socket[bytes]:
    sock = context.socket(zmq.ROUTER)
    sock.maxmsgsize = largest_part
    sock.router_mandatory = 1
    sock.linger = 0
    sock.sndhwm = SEND_HIGH_WATER
    sock.handshake_ivl = HANDSHAKE_MS
    sock.heartbeat_ivl = HEARTBEAT_MS
    sock.heartbeat_timeout = SILENCE_MS
    return sock


def _content(frame: zmq.Frame) -> Bytes:
    """Small parts as bytes; large ones as a view that keeps the frame alive, uncopied."""
    return frame.buffer if len(frame) >= COPY_BYTES else frame.bytes
