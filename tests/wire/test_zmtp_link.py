"""The standard library's ZMTP link against libzmq where there is one, and against raw sockets."""

import os
import socket
import struct
import threading
import time

import pytest

from host_plugins.link import CTL, DATA, open_link
from host_plugins.wire.errors import BridgeError
from host_plugins.zmtp_link import GREETING, READY

GREETING_BYTES = 64


def poll_for(link, count, seconds=5.0):
    arrived, deadline = [], time.monotonic() + seconds
    while len(arrived) < count and time.monotonic() < deadline:
        arrived += link.poll(0.2)
    return [(channel, [bytes(part) for part in parts]) for channel, parts in arrived]


class RawServer:
    """Accepts one ctl and one data connection and shakes hands; `greeting` may be spoilt."""

    def __init__(self, greeting=GREETING, ready=READY):
        self.greeting, self.ready = greeting, ready
        self.listeners = {name: socket.create_server(("127.0.0.1", 0)) for name in (CTL, DATA)}
        self.endpoints = {
            name: f"tcp://127.0.0.1:{sock.getsockname()[1]}"
            for name, sock in self.listeners.items()
        }
        self.connections = {}
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        for name in (CTL, DATA):
            try:
                self.listeners[name].settimeout(3)
                connection, _ = self.listeners[name].accept()
                self.connections[name] = connection
                connection.sendall(self.greeting)
                connection.recv(GREETING_BYTES, socket.MSG_WAITALL)
                connection.sendall(struct.pack("BB", 4, len(self.ready)) + self.ready)
                connection.recv(2 + len(READY), socket.MSG_WAITALL)
            except OSError:
                return

    def close(self):
        for sock in (*self.listeners.values(), *self.connections.values()):
            sock.close()
        self.thread.join(timeout=5)


@pytest.fixture
def raw():
    servers = []

    def make(**options):
        servers.append(RawServer(**options))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def test_frames_split_anywhere_arrive_whole(raw):
    server = raw()
    link = open_link(server.endpoints, transport="zmtp")
    server.thread.join(timeout=3)
    big = os.urandom(70_000)
    stream = b"\x01\x03abc" + b"\x02" + struct.pack(">Q", len(big)) + big
    for start in range(0, len(stream), 9_973):
        server.connections[DATA].sendall(stream[start : start + 9_973])
        link.poll(0.01) if start < 9_973 else None
    assert poll_for(link, 1) == [(DATA, [b"abc", big])]
    link.close()


def test_a_ping_command_is_answered_by_its_pong(raw):
    server = raw()
    link = open_link(server.endpoints, transport="zmtp")
    server.thread.join(timeout=3)
    body = b"\x04PING" + b"\x00\x0a" + b"ctx"
    server.connections[CTL].sendall(struct.pack("BB", 4, len(body)) + body)
    for _ in range(20):
        link.poll(0.05)
    server.connections[CTL].settimeout(3)
    assert server.connections[CTL].recv(100) == struct.pack("BB", 4, 8) + b"\x04PONGctx"
    link.close()


def test_a_part_larger_than_the_limit_is_refused_before_it_is_allocated(raw):
    server = raw()
    link = open_link(server.endpoints, transport="zmtp")
    server.thread.join(timeout=3)
    server.connections[DATA].sendall(b"\x02" + struct.pack(">Q", 2**62))
    with pytest.raises(BridgeError) as caught:
        poll_for(link, 1)
    assert caught.value.code == "too_big"
    link.close()


def test_a_closed_connection_is_told(raw):
    server = raw()
    link = open_link(server.endpoints, transport="zmtp")
    server.thread.join(timeout=3)
    server.connections[CTL].close()
    with pytest.raises(BridgeError) as caught:
        poll_for(link, 1)
    assert caught.value.code == "disconnected"
    link.close()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"greeting": b"HTTP/1.1 400 Bad Request".ljust(64, b" ")}, "no_server"),
        ({"greeting": GREETING[:12] + b"CURVE".ljust(20, b"\0") + GREETING[32:]}, "auth"),
        ({"ready": b"\x05ERROR\x00"}, "no_server"),
    ],
)
def test_something_else_behind_the_port_is_named(raw, options, code):
    server = raw(**options)
    with pytest.raises(BridgeError) as caught:
        open_link(server.endpoints, transport="zmtp")
    assert caught.value.code == code


def test_nobody_behind_the_port_is_no_server():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        free = f"tcp://127.0.0.1:{sock.getsockname()[1]}"
    with pytest.raises(BridgeError) as caught:
        open_link({CTL: free, DATA: free}, transport="zmtp")
    assert caught.value.code == "no_server"


def test_an_unknown_transport_is_refused():
    with pytest.raises(BridgeError) as caught:
        open_link({}, transport="carrier pigeon")
    assert caught.value.code == "bad_param"


@pytest.mark.parametrize("transport", ["zmtp", "zmq"])
@pytest.mark.parametrize("scheme", ["tcp", "ipc"])
def test_messages_go_both_ways_through_libzmq(transport, scheme, tmp_path):
    zmq = pytest.importorskip("zmq", reason="pyzmq is not installed for this interpreter")
    if scheme == "ipc" and len(str(tmp_path)) > 90:
        pytest.skip("the temporary folder's path is too long for a Unix socket")
    context = zmq.Context()
    routers, endpoints = {}, {}
    for name in (CTL, DATA):
        routers[name] = context.socket(zmq.ROUTER)
        routers[name].linger = 0
        address = "tcp://127.0.0.1:*" if scheme == "tcp" else f"ipc://{tmp_path}/{name}"
        routers[name].bind(address)
        endpoints[name] = routers[name].get_string(zmq.LAST_ENDPOINT)
    link = open_link(endpoints, transport=transport)
    big = os.urandom(3_000_000)
    link.send(CTL, [b"a", b"b" * 255, b"c" * 256])
    link.send(DATA, [b"head", memoryview(big)])
    got = {}
    deadline = time.monotonic() + 10
    while len(got) < 2 and time.monotonic() < deadline:
        link.poll(0.05)
        for name in (CTL, DATA):
            if routers[name].poll(1):
                got[name] = routers[name].recv_multipart()
    assert got[CTL][1:] == [b"a", b"b" * 255, b"c" * 256]
    assert got[DATA][1:] == [b"head", big]
    routers[DATA].send_multipart([got[DATA][0], b"back", big])
    assert poll_for(link, 1) == [(DATA, [b"back", big])]
    for router in routers.values():
        router.close()
    with pytest.raises(BridgeError) as caught:
        poll_for(link, 1)
    assert caught.value.code == "disconnected"
    link.close()
    context.term()


def test_wake_ends_a_poll_from_another_thread(raw):
    server = raw()
    link = open_link(server.endpoints, transport="zmtp")
    threading.Timer(0.2, link.wake).start()
    started = time.monotonic()
    assert link.poll(10.0) == []
    assert time.monotonic() - started < 5
    link.close()
