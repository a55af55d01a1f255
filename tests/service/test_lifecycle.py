"""Starting, stopping, dying and coming back: of the server, of its worker, of clients."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import threading
import time

import pytest

from bridge_server.front.serve import only_one
from host_plugins.client import BridgeError, connect
from host_plugins.launch import ConnectionInfo
from host_plugins.link import CTL, open_link
from host_plugins.wire import messages as m
from host_plugins.wire.framing import decode, encode


def run_clip(
    connected, still, clip, count, *, reread=True, at=None, act=None, job=""
) -> list[bytes]:
    got = []
    with connected.open("lookup", {}, [still], job=job) as session:
        stream = session.stream(
            (clip(k) for k in range(count)), reread=(lambda k: clip(k)) if reread else None
        )
        for k, result in enumerate(stream):
            assert result.index == 1001 + k
            got.append(bytes(result.buffers[0].data))
            if k == at:
                act()
    return got


def test_the_connection_file_is_private_and_goes_with_the_server(own_server):
    server = own_server()
    assert stat.S_IMODE(server.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.file.parent.stat().st_mode) == 0o700
    worker = server.worker_pid()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=15) == 0
    assert not server.file.exists()
    assert not list(server.file.parent.glob("*.sock"))
    assert not list(server.file.parent.glob("worker-*"))
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_a_second_server_says_where_the_first_one_is(server):
    told = server.command("serve")
    assert told.returncode == 3
    assert "already_running" in told.stderr
    assert str(server.process.pid) in told.stderr
    assert "Traceback" not in told.stderr
    with server.client() as connected:
        assert connected.ping()


def test_a_taken_port_is_named(own_server, server):
    port = ConnectionInfo.load(server.file).endpoints["tcp"][CTL].rpartition(":")[2]
    env = {**server.env, "CHROMABRIDGE_HOME": str(server.home.parent / "other")}
    command = [*server.process.args[:1], "serve", "--port", port]
    told = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
    assert told.returncode == 3
    assert "port_taken" in told.stderr


def test_an_address_that_others_reach_is_refused(server):
    env = {**server.env, "CHROMABRIDGE_HOME": str(server.home.parent / "remote")}
    command = [*server.process.args[:1], "serve", "--host", "0.0.0.0"]
    told = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
    assert told.returncode != 0
    assert "remote_refused" in told.stderr


def test_stop_ends_the_server_after_what_runs(own_server):
    server = own_server()
    assert server.command("status").returncode == 0
    stopped = server.command("stop")
    assert (stopped.returncode, stopped.stdout) == (0, "the server has stopped\n")
    with only_one(server.file):  # another one could start at once
        pass
    assert server.process.wait(timeout=5) == 0
    told = server.command("status")
    assert told.returncode == 3
    assert "no_server" in told.stderr


def test_killing_the_worker_mid_clip_changes_no_byte(own_server, still, clip):
    server = own_server()
    with server.client() as connected:
        unbroken = run_clip(connected, still, clip, 14)
        pid = server.worker_pid()
        broken = run_clip(
            connected, still, clip, 14, at=5, act=lambda: os.kill(pid, signal.SIGKILL)
        )
        assert broken == unbroken
        assert server.worker_pid() != pid


def test_without_a_way_to_read_frames_again_a_lost_worker_is_an_error_with_a_code(
    own_server, still, clip
):
    server = own_server()
    with server.client() as connected:
        pid = server.worker_pid()
        with pytest.raises(BridgeError) as caught:
            run_clip(
                connected,
                still,
                clip,
                30,
                reread=False,
                at=9,
                act=lambda: os.kill(pid, signal.SIGKILL),
            )
        assert caught.value.code == "worker_lost"
        assert len(run_clip(connected, still, clip, 3)) == 3


def test_killing_the_front_mid_clip_changes_no_byte(own_server, still, clip):
    server = own_server()
    with server.client() as connected:
        unbroken = run_clip(connected, still, clip, 14)

        def kill() -> None:
            server.process.kill()
            server.process.wait()
            threading.Timer(0.5, server.start).start()

        assert run_clip(connected, still, clip, 14, at=5, act=kill) == unbroken


def test_a_worker_does_not_outlive_a_killed_front(own_server):
    server = own_server()
    worker = server.worker_pid()
    server.process.kill()
    server.process.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("the worker still runs")


def test_a_job_is_taken_up_from_its_snapshot_after_both_sides_died(own_server, still, clip):
    server = own_server()
    server.env["CHROMABRIDGE_SNAPSHOT_FRAMES"] = "4"
    server.close()
    server.start()
    with server.client() as connected:
        unbroken = run_clip(connected, still, clip, 14)
        session = connected.open("lookup", {}, [still], job="shot_010")
        stream = session.stream(clip(k) for k in range(14))
        first = [bytes(next(stream).buffers[0].data) for _ in range(10)]
        server.process.kill()
        server.process.wait()
    server.start()
    with (
        server.client() as connected,
        connected.open("lookup", {}, [still], job="shot_010") as again,
    ):
        start = again.first_wanted
        assert 4 <= start <= 10
        rest = [bytes(r.buffers[0].data) for r in again.stream(clip(k) for k in range(start, 14))]
    assert first[:start] + rest == unbroken


def test_a_snapshot_of_other_parameters_is_not_used(own_server, still, clip):
    server = own_server()
    server.env["CHROMABRIDGE_SNAPSHOT_FRAMES"] = "2"
    server.close()
    server.start()
    with server.client() as connected:
        with connected.open("lookup", {}, [still], job="j") as session:
            list(session.stream(clip(k) for k in range(6)))
        with connected.open("lookup", {"saturation": 0.5}, [still], job="j") as session:
            assert session.first_wanted == 0
        with connected.open("lookup", {}, [still], job="other") as session:
            assert session.first_wanted == 0


def test_a_killed_servers_connection_file_does_not_keep_a_client_from_starting_one(
    own_server, monkeypatch
):
    server = own_server()
    server.process.kill()
    server.process.wait()
    assert server.file.exists()
    monkeypatch.setenv("CHROMABRIDGE_HOME", str(server.home))
    with connect(file=server.file, name="starter") as connected:
        assert connected.info["pid"] != server.process.pid
        assert connected.ping()
        connected.stop()


# --- strangers ---


def exchange(link, channel, message, kind):
    link.send(channel, encode(message) if isinstance(message, m.Message) else message)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for _, parts in link.poll(0.2):
            answer = decode(parts)
            if isinstance(answer, kind):
                return answer
    raise AssertionError(f"no {kind.kind} came")


@pytest.fixture
def stranger(server):
    link = open_link(ConnectionInfo.load(server.file).endpoints["tcp"], transport="zmtp")
    yield link
    link.close()


def test_a_wrong_token_is_refused(stranger):
    exchange(stranger, CTL, m.Hello((1, 0), {"name": "?"}, b"n" * 16), m.Challenge)
    assert exchange(stranger, CTL, m.Prove(b"p" * 32), m.Error).code == "auth"


def test_nothing_is_answered_before_the_handshake(stranger):
    assert exchange(stranger, CTL, m.Status(request=1), m.Error).code == "auth"
    assert exchange(stranger, "data", m.Attach(b"t" * 16), m.Error).code == "auth"


def test_another_protocol_version_is_told_which_is_spoken(stranger):
    hello = m.Hello((9, 0), {"name": "?"}, b"n" * 16)
    answer = exchange(stranger, CTL, hello, m.Error)
    assert answer.code == "version"
    assert "expected protocol 1" in answer.message


def test_garbage_from_strangers_leaves_the_server_serving(server, stranger):
    for garbage in ([b"GET / HTTP/1.1"], [b"CBR\x01", b"\xc1" * 100], [b""] * 9):
        answer = exchange(stranger, CTL, garbage, m.Error)
        assert answer.code in ("bad_header", "auth")
    with server.client() as connected:
        assert connected.ping()


def test_bad_messages_after_a_good_handshake_end_that_connection_alone(server):
    with server.client() as good:
        bad = server.client(retry_for_s=0.0)
        link = bad._connection._link
        for _ in range(3):
            bad._connection._outbox.append((CTL, [b"CBR\x01", b"\xc1"], None))
            link.wake()
            time.sleep(0.1)
        bad._connection._thread.join(timeout=10)
        with pytest.raises(BridgeError):
            bad.ping()
        assert good.ping()
