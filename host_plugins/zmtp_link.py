"""The link in the standard library alone: ZMTP 3 with the NULL mechanism, over TCP or Unix sockets.

Speaks to any libzmq ROUTER (rfc.zeromq.org/spec/37): a 64-byte greeting, one READY command, then
length-prefixed frames. Big frames are received into their final buffer.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence

from host_plugins.link import CHANNELS, CONNECT_TIMEOUT_S
from host_plugins.wire.buffers import Bytes
from host_plugins.wire.errors import BridgeError
from host_plugins.wire.limits import MAX_DATA_PART_BYTES, MAX_PARTS

MORE, LONG, COMMAND = 1, 2, 4
GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x05READY" + b"\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
#: parts up to this size are joined to their frame header, which saves a system call
SMALL_BYTES = 16 * 1024


class ZmtpLink:
    """A ctl and a data socket; see host_plugins.link.Link."""

    def __init__(self, endpoints: dict[str, str]) -> None:
        self._selector = selectors.DefaultSelector()
        self._waker, self._wakee = socket.socketpair()
        self._wakee.setblocking(False)
        self._selector.register(self._wakee, selectors.EVENT_READ, None)
        self._peers: dict[str, _Peer] = {}
        try:
            for channel in CHANNELS:
                peer = _Peer(channel, _connect(endpoints[channel]))
                self._peers[channel] = peer
                self._selector.register(peer.sock, selectors.EVENT_READ, peer)
        except BaseException:
            self.close()
            raise

    def send(self, channel: str, parts: Sequence[Bytes]) -> None:
        self._peers[channel].queue(parts)

    def poll(self, timeout_s: float) -> list[tuple[str, list[Bytes]]]:
        for peer in self._peers.values():
            peer.flush()
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.outgoing else 0)
            self._selector.modify(peer.sock, events, peer)
        arrived: list[tuple[str, list[Bytes]]] = []
        for key, events in self._selector.select(timeout_s):
            peer = key.data
            if peer is None:
                _drain(self._wakee)
                continue
            if events & selectors.EVENT_WRITE:
                peer.flush()
            if events & selectors.EVENT_READ:
                arrived.extend((peer.channel, parts) for parts in peer.receive())
        return arrived

    def wake(self) -> None:
        self._waker.send(b"w")

    def close(self) -> None:
        self._selector.close()
        for sock in (self._waker, self._wakee, *(peer.sock for peer in self._peers.values())):
            sock.close()


class _Peer:
    """One socket after its handshake: frames out of a queue, frames into messages."""

    def __init__(self, channel: str, sock: socket.socket) -> None:
        self.channel = channel
        self.sock = sock
        self.outgoing: deque[memoryview] = deque()
        self._messages: deque[list[Bytes]] = deque()
        self._reader = self._read_messages()

    def queue(self, parts: Sequence[Bytes]) -> None:
        for number, part in enumerate(parts):
            self._queue_frame(part, MORE if number < len(parts) - 1 else 0)

    def flush(self) -> None:
        """Send until the queue is empty or the socket is full."""
        try:
            while self.outgoing:
                view = self.outgoing[0]
                sent = self.sock.send(view)
                if sent == view.nbytes:
                    self.outgoing.popleft()
                else:
                    self.outgoing[0] = view[sent:]
        except BlockingIOError:
            return
        except OSError as error:
            raise _gone(self.channel, str(error)) from None

    def receive(self) -> Iterator[list[Bytes]]:
        """The messages that are complete by now."""
        next(self._reader)
        while self._messages:
            yield self._messages.popleft()

    def _queue_frame(self, part: Bytes, flags: int) -> None:
        view = memoryview(part).cast("B")
        if view.nbytes < 256:
            head = struct.pack("BB", flags, view.nbytes)
        else:
            head = struct.pack(">BQ", flags | LONG, view.nbytes)
        if view.nbytes <= SMALL_BYTES:
            self.outgoing.append(memoryview(head + bytes(view)))
        else:
            self.outgoing.append(memoryview(head))
            self.outgoing.append(view)

    def _read_messages(self) -> Generator[None, None, None]:
        """Runs until the socket has no more bytes, yields, and goes on where it stopped."""
        parts: list[Bytes] = []
        while True:
            flags = (yield from self._read(1))[0]
            size = yield from self._read(8 if flags & LONG else 1)
            length = int.from_bytes(size, "big")
            if length > MAX_DATA_PART_BYTES or len(parts) >= MAX_PARTS:
                raise BridgeError(
                    "too_big", f"the server sent a part of {length} bytes as part {len(parts) + 1}"
                )
            body = yield from self._read(length)
            if flags & COMMAND:
                self._answer(bytes(body))
                continue
            parts.append(body)
            if not flags & MORE:
                self._messages.append(parts)
                parts = []

    def _read(self, count: int) -> Generator[None, None, bytearray]:
        body = bytearray(count)
        view, got = memoryview(body), 0
        while got < count:
            try:
                received = self.sock.recv_into(view[got:])
            except BlockingIOError:
                yield
                continue
            except OSError as error:
                raise _gone(self.channel, str(error)) from None
            if received == 0:
                raise _gone(self.channel, "it closed the connection")
            got += received
        return body

    def _answer(self, command: bytes) -> None:
        """PING (TTL in two bytes, then a context) is answered by PONG with the same context."""
        if command.startswith(b"\x04PING"):
            body = b"\x04PONG" + command[7:]
            self.outgoing.append(memoryview(struct.pack("BB", COMMAND, len(body)) + body))


def _connect(endpoint: str) -> socket.socket:
    """A non-blocking socket that has finished the ZMTP handshake."""
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    try:
        sock = _open_socket(endpoint)
    except OSError as error:
        raise BridgeError("no_server", f"no server answers at {endpoint}: {error}") from None
    try:
        sock.sendall(GREETING)
        greeting = _read_exactly(sock, 64, deadline)
        if greeting[0] != 0xFF or greeting[9] != 0x7F or greeting[10] < 3:
            raise BridgeError("no_server", f"{endpoint} does not speak ZMTP 3")
        if greeting[12:32].rstrip(b"\0") != b"NULL":
            raise BridgeError(
                "auth",
                f"{endpoint} wants encryption, which this transport does not speak",
                hint="Run 'chromabridge relay' on this machine and connect to that.",
            )
        sock.sendall(struct.pack("BB", COMMAND, len(READY)) + READY)
        flags, length = _read_exactly(sock, 2, deadline)
        command = _read_exactly(sock, length, deadline)
        if not flags & COMMAND or not command.startswith(b"\x05READY"):
            raise BridgeError("no_server", f"{endpoint} did not finish the ZMTP handshake")
    except OSError as error:
        sock.close()
        raise BridgeError("no_server", f"{endpoint} did not answer: {error}") from None
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _open_socket(endpoint: str) -> socket.socket:
    scheme, _, address = endpoint.partition("://")
    if scheme == "ipc":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(CONNECT_TIMEOUT_S)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        return sock
    host, _, port = address.rpartition(":")
    sock = socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _read_exactly(sock: socket.socket, count: int, deadline: float) -> bytes:
    data = b""
    while len(data) < count:
        sock.settimeout(max(0.01, deadline - time.monotonic()))
        more = sock.recv(count - len(data))
        if not more:
            raise OSError("the connection was closed")
        data += more
    return data


def _drain(sock: socket.socket) -> None:
    try:
        while sock.recv(4096):
            pass
    except BlockingIOError:
        pass


def _gone(channel: str, why: str) -> BridgeError:
    return BridgeError("disconnected", f"the server's {channel} socket went away: {why}")
