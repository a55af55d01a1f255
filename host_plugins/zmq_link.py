"""The link on pyzmq, for processes that have it: two DEALER sockets, zero-copy both ways."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Optional

import zmq

from host_plugins.link import CHANNELS, CONNECT_TIMEOUT_S
from host_plugins.wire.buffers import Bytes
from host_plugins.wire.errors import BridgeError
from host_plugins.wire.limits import MAX_DATA_PART_BYTES

#: smaller parts are copied; below this a copy is cheaper than sharing
COPY_BYTES = 64 * 1024


class ZmqLink:
    """A ctl and a data socket; see host_plugins.link.Link. Owns its zmq context."""

    def __init__(self, endpoints: dict[str, str]) -> None:
        self._context = zmq.Context(io_threads=1)
        self._waker, self._wakee = socket.socketpair()
        self._wakee.setblocking(False)
        self._poller = zmq.Poller()
        self._poller.register(self._wakee, zmq.POLLIN)
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._monitors: list[zmq.Socket[bytes]] = []
        try:
            for channel in CHANNELS:
                _require_listener(endpoints[channel])
                self._sockets[channel] = self._dealer(endpoints[channel])
        except BaseException:
            self.close()
            raise

    def send(self, channel: str, parts: Sequence[Bytes]) -> None:
        sock = self._sockets[channel]
        try:
            for number, part in enumerate(parts):
                more = zmq.SNDMORE if number < len(parts) - 1 else 0
                size = part.nbytes if isinstance(part, memoryview) else len(part)
                sock.send(part, zmq.NOBLOCK | more, copy=size < COPY_BYTES)
        except zmq.Again:
            raise BridgeError(
                "disconnected", f"the server's {channel} socket takes nothing more"
            ) from None

    def poll(self, timeout_s: float) -> list[tuple[str, list[Bytes]]]:
        ready = dict(self._poller.poll(int(timeout_s * 1000)))
        for monitor in self._monitors:
            if monitor in ready:
                raise BridgeError("disconnected", "the server closed its socket")
        if self._wakee.fileno() in ready:
            self._drain()
        arrived: list[tuple[str, list[Bytes]]] = []
        for channel, sock in self._sockets.items():
            if sock in ready:
                while (parts := _receive(sock)) is not None:
                    arrived.append((channel, parts))
        return arrived

    def wake(self) -> None:
        self._waker.send(b"w")

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.disable_monitor()
            sock.close(linger=0)
        for monitor in self._monitors:
            monitor.close(linger=0)
        self._waker.close()
        self._wakee.close()
        self._context.term()

    def _dealer(self, endpoint: str) -> zmq.Socket[bytes]:
        sock = self._context.socket(zmq.DEALER)
        sock.linger = 0
        sock.maxmsgsize = MAX_DATA_PART_BYTES
        sock.handshake_ivl = int(CONNECT_TIMEOUT_S * 1000)
        sock.reconnect_ivl = -1  # only a new handshake makes a new connection
        monitor = sock.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._monitors.append(monitor)
        self._poller.register(monitor, zmq.POLLIN)
        sock.connect(endpoint)
        self._poller.register(sock, zmq.POLLIN)
        return sock

    def _drain(self) -> None:
        try:
            while self._wakee.recv(4096):
                pass
        except BlockingIOError:
            pass


def _receive(sock: zmq.Socket[bytes]) -> Optional[list[Bytes]]:
    try:
        frames = sock.recv_multipart(zmq.NOBLOCK, copy=False)
    except zmq.Again:
        return None
    return [frame.buffer if len(frame) >= COPY_BYTES else frame.bytes for frame in frames]


def _require_listener(endpoint: str) -> None:
    """libzmq connects in the background and for ever; a plain connect tells at once."""
    scheme, _, address = endpoint.partition("://")
    try:
        if scheme == "ipc":
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(CONNECT_TIMEOUT_S)
                probe.connect(address)
        else:
            host, _, port = address.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise BridgeError("no_server", f"no server answers at {endpoint}: {error}") from None
