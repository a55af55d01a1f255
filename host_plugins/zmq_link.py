"""The link on pyzmq, for processes that have it: two DEALER sockets, zero-copy both ways."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import zmq
from zmq.utils.monitor import recv_monitor_message

from host_plugins.link import CHANNELS, CONNECT_TIMEOUT_S, CTL, DATA
from host_plugins.wire.buffers import Bytes
from host_plugins.wire.errors import BridgeError
from host_plugins.wire.limits import MAX_DATA_PART_BYTES

#: smaller parts are copied; below this a copy is cheaper than sharing
COPY_BYTES = 64 * 1024
#: messages that may wait on this side; credit keeps it far below
READ_AHEAD = {CTL: 256, DATA: 16}
SEND_HIGH_WATER = 144
#: what libzmq reports of a connection that ends or is not let in
_ENDINGS = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


@dataclass(frozen=True)
class Curve:
    """Keys for a server on another machine, in Z85: its public one, and this client's own pair."""

    server: str
    public: str
    secret: str


class ZmqLink:
    """A ctl and a data socket; see host_plugins.link.Link. Owns its zmq context.

    curve: encrypt, and accept that server alone.
    """

    def __init__(self, endpoints: dict[str, str], *, curve: Optional[Curve] = None) -> None:
        self._curve = curve
        self._secured = 0
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
                self._sockets[channel] = self._dealer(channel, endpoints[channel])
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
                self._hear_monitor(monitor)
        if self._wakee.fileno() in ready:
            self._drain()
        arrived: list[tuple[str, list[Bytes]]] = []
        for channel, sock in self._sockets.items():
            if sock in ready:
                while (parts := _receive(sock)) is not None:
                    arrived.append((channel, parts))
        return arrived

    def register(self, poller: zmq.Poller) -> None:
        """Let another poller end its wait when something is here for `poll`."""
        for sock in (*self._sockets.values(), *self._monitors):
            poller.register(sock, zmq.POLLIN)

    def unregister(self, poller: zmq.Poller) -> None:
        for sock in (*self._sockets.values(), *self._monitors):
            poller.unregister(sock)

    def wake(self) -> None:
        self._waker.send(b"w")

    def close(self, *, linger_ms: int = 0) -> None:
        """Close; what is queued has so much time to leave."""
        for sock in self._sockets.values():
            sock.disable_monitor()
            sock.close(linger=linger_ms)
        for monitor in self._monitors:
            monitor.close(linger=0)
        self._waker.close()
        self._wakee.close()
        self._context.term()

    def _dealer(self, channel: str, endpoint: str) -> zmq.Socket[bytes]:
        sock = self._context.socket(zmq.DEALER)
        sock.linger = 0
        sock.maxmsgsize = MAX_DATA_PART_BYTES
        sock.rcvhwm = READ_AHEAD[channel]
        sock.sndhwm = SEND_HIGH_WATER
        sock.handshake_ivl = int(CONNECT_TIMEOUT_S * 1000)
        sock.reconnect_ivl = -1  # only a new handshake makes a new connection
        if self._curve is not None:
            sock.curve_serverkey = self._curve.server.encode("ascii")
            sock.curve_publickey = self._curve.public.encode("ascii")
            sock.curve_secretkey = self._curve.secret.encode("ascii")
        monitor = sock.get_monitor_socket(_ENDINGS | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self._monitors.append(monitor)
        self._poller.register(monitor, zmq.POLLIN)
        sock.connect(endpoint)
        self._poller.register(sock, zmq.POLLIN)
        return sock

    def _hear_monitor(self, monitor: zmq.Socket[bytes]) -> None:
        """Raises BridgeError when the connection ended; `auth` when it never became secure."""
        if recv_monitor_message(monitor)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._secured += 1
        elif self._curve is not None and self._secured < len(CHANNELS):
            raise BridgeError(
                "auth",
                "the server did not let this key in, or is another one than expected",
                hint="Compare with 'chromabridge keys list' and 'keys show-server' there.",
            )
        else:
            raise BridgeError("disconnected", "the server closed its socket")

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
