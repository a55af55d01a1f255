"""Who gets in from other machines, and who does not; what a relay passes on."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import zmq
from typer.testing import CliRunner

from bridge_server import peers as peers_module
from bridge_server.cli import app
from bridge_server.gate import Gate
from bridge_server.keys import KeyPair, Keyring
from bridge_server.peers import KEYED_TOKEN, MAX_STRANGERS, STRANGER_S, Peers
from bridge_server.relay import UNREAD_BYTES, Relay
from host_plugins.client import BridgeError, connect
from host_plugins.connection import shake_hands
from host_plugins.launch import ConnectionInfo
from host_plugins.link import CTL, DATA
from host_plugins.wire import messages as m
from host_plugins.wire.framing import decode, encode
from host_plugins.wire.messages import Message
from host_plugins.zmq_link import Curve, ZmqLink

#: loopback to the kernel, yet not one of the addresses that the server takes for its own machine
ELSEWHERE = "127.0.0.2"
CHROMABRIDGE = str(Path(sys.executable).with_name("chromabridge"))

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="needs a second loopback address"
)


class RemoteServer:
    """A server that listens elsewhere, with its keyring and where it is found."""

    def __init__(self, running, keyring: Keyring) -> None:
        self.running = running
        self.keyring = keyring

    @property
    def endpoints(self) -> dict[str, str]:
        return ConnectionInfo.load(self.running.file).endpoints["curve"]

    def shake_hands(self, pair: KeyPair, server: str | None = None) -> ZmqLink:
        known = self.keyring.server().public if server is None else server
        link = ZmqLink(self.endpoints, curve=Curve(known, pair.public, pair.secret))
        try:
            shake_hands(link, KEYED_TOKEN, {"name": "test"})
        except BaseException:
            link.close()
            raise
        return link


@pytest.fixture(scope="module")
def remote(tmp_path_factory, request):
    home = tmp_path_factory.mktemp("r") / "home"
    keyring = Keyring(home / "keys")
    home.mkdir()
    keyring.new("first")
    running_server = request.getfixturevalue("server").__class__
    running = running_server(home, "--host", ELSEWHERE)
    yield RemoteServer(running, keyring)
    running.close()


def ask(link: ZmqLink, message: Message, kind: type[Message]):
    link.send(CTL, encode(message))
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        for _, parts in link.poll(0.5):
            answer = decode(parts)
            if isinstance(answer, kind):
                return answer
    raise AssertionError(f"no {kind.kind} came")


#: how a door that stays shut looks from outside, by what arrives first
REFUSED = ("auth", "timeout", "disconnected")


def refusal(call, *args) -> str:
    with pytest.raises(BridgeError) as caught:
        call(*args)
    assert caught.value.hint
    return caught.value.code


# --- keys ---


def test_an_allowed_key_gets_in_under_its_own_name(remote):
    link = remote.shake_hands(remote.keyring.new("mira"))
    try:
        assert ask(link, m.Ping(1), m.Pong).request == 1
        stop = ask(link, m.Stop(2), m.Error)
        assert (stop.code, stop.request) == ("unsupported", 2)
        assert "connected: mira" in remote.running.log.read_text()
    finally:
        link.close()


def test_an_unknown_key_and_a_wrong_server_key_do_not_get_in(remote):
    stranger, other_server = KeyPair.new(), KeyPair.new()
    known = remote.keyring.new("known")
    assert refusal(remote.shake_hands, stranger) in REFUSED
    assert refusal(remote.shake_hands, known, other_server.public) in REFUSED
    remote.shake_hands(known).close()


def test_a_public_key_alone_does_not_get_in(remote):
    pair = remote.keyring.new("public")
    thief = KeyPair(pair.public, KeyPair.new().secret)
    assert refusal(remote.shake_hands, thief) in REFUSED


def test_without_curve_nothing_is_answered_on_the_remote_address(remote):
    link = ZmqLink(remote.endpoints)
    try:
        link.send(CTL, encode(m.Hello((1, 0), {"name": "?"}, b"n" * 16)))
        assert refusal(link.poll, 20.0) == "disconnected"
    finally:
        link.close()


def test_a_revoked_key_is_cut_off_and_does_not_come_back(remote):
    pair = remote.keyring.new("leaver")
    link = remote.shake_hands(pair)
    try:
        assert ask(link, m.Ping(1), m.Pong)
        remote.keyring.revoke("leaver")
        link.send(CTL, encode(m.Ping(2)))
        assert "revoked" in ask(link, m.Ping(3), m.Bye).reason
        hello = m.Hello((1, 0), {"name": "leaver"}, b"n" * 16)
        assert ask(link, hello, m.Error).code == "auth"
    finally:
        link.close()
    assert refusal(remote.shake_hands, pair) in REFUSED


def test_eight_clients_at_once_are_let_in_by_their_keys_alone(remote):
    good = [remote.keyring.new(f"client-{number}") for number in range(4)]
    pairs = [pair for each in good for pair in (each, KeyPair.new())]
    outcomes: dict[int, str] = {}

    def work(number: int) -> None:
        try:
            link = remote.shake_hands(pairs[number])
        except BridgeError as error:
            outcomes[number] = error.code
        else:
            outcomes[number] = "in" if ask(link, m.Ping(1), m.Pong) else "?"
            link.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [outcomes[number] for number in range(8)] == ["in", "auth"] * 4


def test_without_a_key_pair_or_a_client_to_let_in_no_address_is_opened(tmp_path):
    keyring = Keyring(tmp_path / "keys")
    context = zmq.Context()
    addresses = {channel: f"tcp://{ELSEWHERE}:*" for channel in (CTL, DATA)}
    for _ in range(2):
        gate = Gate(context)
        with pytest.raises(BridgeError) as caught:
            gate.bind_remote(addresses, keyring)
        gate.close()
        assert caught.value.code == "remote_refused"
        assert "chromabridge keys new" in caught.value.hint
        keyring.server(make=True)
    context.term()


# --- the keyring ---


def test_secrets_are_for_their_owner_alone_and_never_overwritten(tmp_path):
    keyring = Keyring(tmp_path / "keys")
    pair = keyring.new("mira")
    out = tmp_path / "mira.secret"
    pair.save(out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert stat.S_IMODE(keyring.server_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(keyring.server_file.parent.stat().st_mode) == 0o700
    assert KeyPair.load(out) == pair
    assert pair.server == keyring.server().public
    assert refusal(pair.save, out) == "output_exists"
    kept = "".join(file.read_text() for file in (tmp_path / "keys").rglob("*.key"))
    assert pair.public in kept
    assert pair.secret not in kept


def test_names_that_could_leave_the_folder_are_refused(tmp_path):
    keyring = Keyring(tmp_path / "keys")
    for name in ("", ".", "..", "../x", "a/b", "a\\b", "a\x00", "a\n", "x" * 65, "-rf", ".hidden"):
        assert refusal(keyring.new, name) == "bad_param"
        assert refusal(keyring.revoke, name) == "bad_param"
    keyring.new("mira")
    assert refusal(keyring.new, "mira") == "bad_param"
    assert refusal(keyring.revoke, "other") == "bad_param"


def test_broken_key_files_let_nobody_in_and_break_nothing(tmp_path):
    keyring = Keyring(tmp_path / "keys")
    pair = keyring.new("mira")
    folder = tmp_path / "keys" / "clients"
    (folder / "empty.key").write_text("")
    (folder / "binary.key").write_bytes(os.urandom(200))
    (folder / "short.key").write_text('public-key = "abc"')
    (folder / "folder.key").mkdir()
    (folder / "copy.key").write_text((folder / "mira.key").read_text())
    assert set(keyring.allowed()) == {pair.public}
    keyring.revoke("mira")
    assert set(keyring.allowed().values()) == {"copy"}


def test_the_commands_make_list_and_revoke_keys(tmp_path, monkeypatch):
    monkeypatch.setenv("CHROMABRIDGE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def keys(*words: str) -> str:
        told = CliRunner().invoke(app, ["keys", *words])
        assert told.exit_code == 0, told.output
        return told.output

    told = keys("new", "mira")
    pair = KeyPair.load(tmp_path / "mira.secret")
    assert pair.secret not in told
    assert keys("show-server").strip() == pair.server
    assert set(Keyring(tmp_path / "home" / "keys").allowed()) == {pair.public}
    keys("revoke", "mira")
    assert "nobody" in keys("list")


# --- the relay ---


@contextmanager
def relay(remote: RemoteServer, home: Path, pair: KeyPair):
    home.mkdir(parents=True)
    pair.save(home / "mine.secret")
    ports = {channel: at.rpartition(":")[2] for channel, at in remote.endpoints.items()}
    command = [CHROMABRIDGE, "relay", "--server", f"tcp://{ELSEWHERE}:{ports[CTL]}"]
    command += ["--data-port", ports[DATA], "--key", str(home / "mine.secret")]
    process = subprocess.Popen(
        command,
        env={**os.environ, "CHROMABRIDGE_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


def test_a_clip_through_the_relay_has_the_same_bytes(remote, still, clip, bytes_of, tmp_path):
    home = tmp_path / "here"
    with (
        remote.running.client() as near,
        near.open("lookup", {}, [still]) as session,
    ):
        direct = bytes_of(session.stream(clip(k) for k in range(5)))
    with relay(remote, home, remote.keyring.new("studio")) as process:
        assert process.stdout.readline().startswith("READY")
        file = home / "run" / "server.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        with connect(start=False, file=file, name="nuke") as far:
            assert far.effects
            with far.open("lookup", {}, [still]) as session:
                relayed = bytes_of(session.stream(clip(k) for k in range(5)))
                assert far.status()["sessions"][-1]["client"] == "studio"
            far.stop()
        assert process.wait(timeout=30) == 0
        assert not file.exists()
    assert relayed == direct
    with remote.running.client() as near:
        assert near.ping()  # the relay stopped, not the server


def test_a_relay_whose_key_is_not_let_in_says_so_and_ends(remote, tmp_path):
    stranger = KeyPair.new(remote.keyring.server().public)
    with relay(remote, tmp_path / "here", stranger) as process:
        _, told = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "error auth" in told
    assert "Traceback" not in told


def test_a_remote_server_that_dies_and_comes_back_costs_a_relayed_job_nothing(
    own_server, still, clip, tmp_path, census
):
    ports = []
    for _ in range(2):
        with socket.create_server((ELSEWHERE, 0)) as probe:
            ports.append(str(probe.getsockname()[1]))
    home = tmp_path / "home"
    Keyring(home / "keys").new("first")
    flags = ("--host", ELSEWHERE, "--port", ports[0], "--data-port", ports[1])
    running = own_server(*flags)
    far_server = RemoteServer(running, Keyring(home / "keys"))

    def run(connected, act=None) -> list[bytes]:
        got = []
        with connected.open("lookup", {}, [still], job="" if act is None else "far") as session:
            stream = session.stream((clip(k) for k in range(16)), reread=clip)
            for k, result in enumerate(stream):
                got.append(bytes(result.buffers[0].data))
                if k == 6 and act is not None:
                    act()
        return got

    here = tmp_path / "here"
    with relay(far_server, here, far_server.keyring.new("studio")) as process:
        assert process.stdout.readline().startswith("READY")
        file = here / "run" / "server.json"

        def die_and_come_back() -> None:
            running.process.kill()
            running.process.wait()
            started = time.monotonic()
            codes = {refusal(partial(connect, file=file, name="late")) for _ in range(3)}
            assert codes == {"away"}
            assert time.monotonic() - started < 10
            threading.Timer(0.5, running.start).start()

        with connect(start=False, file=file, name="nuke", retry_for_s=60.0) as through:
            whole = run(through)
            assert run(through, die_and_come_back) == whole
        census(running, still, clip).check(still, clip)
        assert process.poll() is None
    assert process.returncode == 0


def test_a_relay_stops_reading_for_a_client_that_does_not_read():
    relaying = Relay.__new__(Relay)
    calls: list[str] = []

    class Link:
        def register(self, poller) -> None:
            calls.append("register")

        def unregister(self, poller) -> None:
            calls.append("unregister")

        def poll(self, timeout_s):
            calls.append("poll")
            return []

    class Reader:
        ticket = b"t"
        waiting = UNREAD_BYTES + 1

    class Crowd:
        def unsent(self, peer) -> int:
            return peer.waiting

    reader = Reader()
    relaying._peers, relaying._links, relaying._stalled = Crowd(), {b"t": Link()}, set()
    relaying._poller = None
    relaying._inward(reader)
    relaying._inward(reader)
    reader.waiting = 0
    relaying._inward(reader)
    assert calls == ["unregister", "register", "poll"]


# --- peers that prove nothing ---


class SilentGate:
    """Takes the answers that Peers gives."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Message]] = []

    def send(self, channel, peer, parts) -> None:
        self.sent.append((peer, decode(list(parts))))

    def key_name(self, peer: bytes) -> str:
        return "" if peer[:1] == b"L" else "key"


def test_connections_without_proof_are_few_and_leave_room_after_their_time(monkeypatch):
    gate, now = SilentGate(), [100.0]
    monkeypatch.setattr(peers_module.time, "monotonic", lambda: now[0])
    peers = Peers(gate, b"t" * 32, welcome=None)
    hello = encode(m.Hello((1, 0), {"name": "?"}, b"n" * 16))

    def answer(address: bytes) -> Message:
        peers.hear(CTL, address, hello)
        return gate.sent[-1][1]

    for number in range(MAX_STRANGERS):
        assert isinstance(answer(b"L%d" % number), m.Challenge)
    late = answer(b"Llate")
    assert (late.code, late.retry) == ("busy", True)
    assert answer(b"L0").code == "busy"  # one hello a connection
    assert isinstance(answer(b"Rkey"), m.Challenge)  # local strangers do not lock others out
    now[0] += STRANGER_S + 1
    assert peers.silent() == []
    assert isinstance(answer(b"Llate"), m.Challenge)


def test_a_thousand_connections_leave_the_server_serving(remote):
    started = time.monotonic()
    addresses = [ConnectionInfo.load(remote.running.file).endpoints["tcp"][CTL]]
    addresses.append(remote.endpoints[CTL])
    for number in range(1000):
        host, _, port = addresses[number % 2][len("tcp://") :].rpartition(":")
        with socket.create_connection((host, int(port)), 10) as sock:
            if number % 3:
                sock.sendall(os.urandom(64) if number % 3 == 1 else b"\xff" + b"\0" * 8 + b"\x7f")
    with remote.running.client() as near:
        assert near.ping()
    remote.shake_hands(remote.keyring.new("patient")).close()
    assert time.monotonic() - started < 10
