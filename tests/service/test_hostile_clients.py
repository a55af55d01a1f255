"""Clients that are slow, greedy, deaf or lying: bounded memory, coded replies, others served."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from host_plugins.client import BridgeError, ClipFrame, ExemplarPicture, plane
from host_plugins.link import CTL, DATA
from host_plugins.wire import messages as m
from host_plugins.wire.framing import encode

MIB = 2**20
GRACE_S = 1.5


@pytest.fixture(scope="module")
def victim(tmp_path_factory, request):
    home = tmp_path_factory.mktemp("v") / "home"
    home.mkdir()
    (home / "server.toml").write_text(f"idle_s = 2.0\ngrace_s = {GRACE_S}\n")
    running = request.getfixturevalue("server").__class__(home)
    yield running
    running.close()


@pytest.fixture(autouse=True)
def nothing_leaks(victim, census, still, clip):
    before = census(victim, still, clip)
    yield before
    before.check(still, clip)


@pytest.fixture
def resident():
    def read(pid: int) -> int:
        rows = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(row for row in rows if row.startswith("VmRSS")).split()[1]) * 1024

    return read


def sessions(connected) -> list[dict]:
    return [told for told in connected.status()["sessions"] if told["client"] == "rogue"]


def serves(victim, still, clip) -> float:
    """Another client's clip; returns the seconds that it took."""
    with victim.client(name="good") as good, good.open("lookup", {}, [still]) as session:
        began = time.monotonic()
        assert len(list(session.stream(clip(k) for k in range(12)))) == 12
        return time.monotonic() - began


def frame_of(opened: m.Opened, q: int, picture: ClipFrame) -> m.Frame:
    return m.Frame(opened.session, q, opened.epoch, picture.index, picture.buffers)


def test_frames_beyond_the_credit_are_refused_and_the_third_ends_the_session(
    victim, still, clip, rogue
):
    with rogue(victim) as fast:
        opened = fast.open(still)
        for q in range(4):  # acknowledged are none
            fast.say(DATA, frame_of(opened, q, clip(q)))
        assert [fast.hear(m.Result).q for _ in range(4)] == [0, 1, 2, 3]
        for q in range(4, 7):
            fast.say(DATA, frame_of(opened, 4, clip(q)))
        refused = [fast.hear(m.Error) for _ in range(3)]
        assert [error.code for error in refused] == ["no_credit"] * 3
        assert [error.retry for error in refused] == [True, True, False]
        fast.say(DATA, frame_of(opened, 4, clip(4)))
        assert fast.hear(m.Error).code == "unknown_session"
        assert serves(victim, still, clip)


def test_a_flood_of_frames_does_not_fill_the_servers_memory(
    victim, still, clip, rogue, resident, nothing_leaks
):
    huge = clip(0, (1080, 1920))
    before, most = resident(nothing_leaks.front), 0
    with rogue(victim) as flood:
        opened = flood.open(still)
        ending = threading.Event()

        def pour() -> None:
            for q in range(100):  # 4 MB each
                flood.link.send(DATA, encode(frame_of(opened, q, huge)))
                while flood.link._peers[DATA].outgoing and not ending.is_set():
                    flood.link.poll(0.01)

        thread = threading.Thread(target=pour)
        thread.start()
        while thread.is_alive():
            most = max(most, resident(nothing_leaks.front) - before)
            time.sleep(0.01)
        ending.set()
        assert serves(victim, still, clip)
    assert most < 160 * MIB, f"{most // MIB} MiB"


def test_results_that_are_never_acknowledged_stay_few_and_the_session_ends_with_a_code(
    victim, still, clip, rogue
):
    with rogue(victim) as never, victim.client() as watching:
        opened = never.open(still)
        for q in range(4):
            never.say(DATA, frame_of(opened, q, clip(q)))
        assert [never.hear(m.Result).q for _ in range(4)] == [0, 1, 2, 3]
        assert serves(victim, still, clip)
        ended = never.hear(m.Error)
        assert ended.code == "unknown_session"
        assert "idle" in ended.message
        assert sessions(watching) == []


def test_a_client_that_reads_nothing_gets_nothing_more_made_and_is_ended(
    victim, still, rogue, clip, resident, nothing_leaks
):
    """It acknowledges blindly, so that credit alone would let results pile up without end."""
    luma = np.zeros((1080, 1920), np.uint8)
    picture = ClipFrame(0, (plane("y", luma),))
    before = resident(nothing_leaks.front)
    with rogue(victim) as deaf, victim.client() as watching:
        opened = deaf.open(still, want={"dtype": "<f4"})  # 16.6 MB a result
        sent, moved = 0, time.monotonic()
        while time.monotonic() - moved < 6.0 and sent < 40:
            told = sessions(watching)
            if not told:
                break  # it was ended as idle, since nothing was made for it any more
            if told[0]["done"] == sent:
                deaf.say(CTL, m.Ack(opened.session, sent))
                deaf.say(DATA, frame_of(opened, sent, picture))
                sent, moved = sent + 1, time.monotonic()
            deaf.say(CTL)  # what the socket did not take at once
            time.sleep(0.01)
        assert 12 < sent < 30
        assert resident(nothing_leaks.front) - before < 600 * MIB
        assert serves(victim, still, clip)
        got = [deaf.hear(m.Result).q for _ in range(sent - 1)]  # it reads at last
        assert got == list(range(sent - 1))
        assert deaf.hear(m.Error).code == "unknown_session"


def test_a_slow_client_does_not_slow_the_others(victim, still, clip):
    alone = min(serves(victim, still, clip) for _ in range(2))
    ending = threading.Event()
    most = [0]

    def dawdle() -> None:
        with (
            victim.client(name="rogue") as slow,
            slow.open("lookup", {}, [still]) as session,
        ):
            for _ in session.stream(clip(k % 50) for k in range(10**6)):
                if ending.wait(0.2):
                    return
                (told,) = sessions(slow)
                most[0] = max(most[0], told["waiting"])

    thread = threading.Thread(target=dawdle)
    thread.start()
    try:
        beside = min(serves(victim, still, clip) for _ in range(3))
    finally:
        ending.set()
        thread.join(timeout=30)
    assert most[0] <= 4
    assert beside < 3 * alone + 0.2


def test_a_flood_of_requests_leaves_control_quick_for_others(victim, rogue, still, clip):
    with rogue(victim) as flood, victim.client() as good:
        opened = flood.open(still)
        for number in range(1, 3001):
            flood.link.send(CTL, encode(m.Status(request=number)))
        deadline, waits = time.monotonic() + 10, []
        while flood.link._peers[CTL].outgoing and time.monotonic() < deadline:
            flood.link._peers[CTL].flush()  # it writes and does not read
            began = time.monotonic()
            good.ping()
            waits.append(time.monotonic() - began)
        assert max(waits) < 2.0
        assert serves(victim, still, clip)
        del opened


def test_exemplars_cancels_and_flushes_are_bounded_too(
    victim, rogue, still, clip, resident, nothing_leaks
):
    before = {pid: resident(pid) for pid in (nothing_leaks.front, nothing_leaks.worker)}
    with rogue(victim) as flood:
        opened = flood.open(still)
        for number in range(48):  # 12 MB each, for a frame that never comes
            rgb = np.full((2048, 2048, 3), number, np.uint8)
            late = ExemplarPicture(plane("rgb", rgb))
            message = m.Exemplar(opened.session, late.digest, (late.buffer,), number, 10**9)
            flood.link.send(DATA, encode(message))
            while flood.link._peers[DATA].outgoing:
                flood.listen(0.01)
        assert flood.hear(m.Error).code == "no_credit"
        grown = {pid: resident(pid) - was for pid, was in before.items()}
        # the front also keeps its store of exemplars, which is bounded apart
        assert grown[nothing_leaks.worker] < 340 * MIB, grown
        assert grown[nothing_leaks.front] < (340 + 512) * MIB, grown
        assert serves(victim, still, clip)


def test_lies_about_sizes_end_the_connection_and_cost_no_memory(
    victim, still, clip, rogue, resident, nothing_leaks
):
    before = resident(nothing_leaks.front)
    with rogue(victim) as liar:
        opened = liar.open(still)
        raw: socket.socket = liar.link._peers[DATA].sock
        raw.setblocking(True)
        raw.sendall(struct.pack(">BQ", 3, 2**62))  # a part of four exbibytes, more to follow
        raw.settimeout(10)
        with suppress(ConnectionError):
            while raw.recv(4096):
                pass
        del opened
    with rogue(victim) as liar:
        opened = liar.open(still)
        honest = encode(frame_of(opened, 0, clip(0)))
        for lie in (b"", bytes(honest[2][:-1]), bytes(honest[2]) + b"x"):
            liar.garbage(DATA, honest[0], honest[1], lie)
            assert liar.hear(m.Error).code in ("bad_header", "too_big", "bad_frame")
        assert "bad messages" in liar.hear(m.Bye).reason
        assert serves(victim, still, clip)
    assert resident(nothing_leaks.front) - before < 64 * MIB


def test_garbage_after_a_good_handshake_parks_the_session_until_its_grace_is_over(
    victim, still, rogue, until
):
    with rogue(victim) as bad, victim.client() as watching:
        bad.open(still)
        for _ in range(3):
            bad.garbage(CTL, b"CBR\x01", b"\xc1" * 50)
            assert bad.hear(m.Error).code == "bad_header"
        assert bad.hear(m.Bye)
        until(lambda: [told["parked"] for told in sessions(watching)] == [True], 2.0)
        until(lambda: not sessions(watching), GRACE_S + 5)


def test_replayed_frames_are_answered_from_what_is_kept_and_never_computed_again(
    victim, still, clip, rogue
):
    with rogue(victim) as again, victim.client() as watching:
        opened = again.open(still)
        first = frame_of(opened, 0, clip(0))
        again.say(DATA, first)
        made = again.hear(m.Result)
        for _ in range(3):
            again.say(DATA, first)
            kept = again.hear(m.Result)
            assert bytes(kept.buffers[0].data) == bytes(made.buffers[0].data)
        again.say(DATA, frame_of(opened, 2, clip(2)))  # reordered: 2 before 1
        assert "expected frame 1" in again.hear(m.Error).message
        again.say(CTL, m.Ack(opened.session, 1))
        again.hear(m.Credit)
        again.say(DATA, first)
        assert again.hear(m.Error).code == "gone"
        again.say(DATA, frame_of(opened, 1, clip(1)))
        assert again.hear(m.Result).q == 1
        assert sessions(watching)[0]["done"] == 2
        again.say(CTL, m.Close(opened.session, 9))
        again.hear(m.Closed)


def test_a_thousand_full_handshakes_leave_no_handle_behind(victim, rogue, still, clip):
    for number in range(1000):
        with rogue(victim) as brief:
            if number % 2:
                brief.say(CTL, m.Bye())
    assert serves(victim, still, clip)


# --- a connection that breaks while both sides live ---


@pytest.mark.parametrize("how", ["cut", "forgotten", "thrown out"])
def test_a_broken_connection_is_taken_up_again_with_the_same_bytes(victim, still, clip, how):
    def run(connected, breaks: tuple[int, ...]) -> list[bytes]:
        got = []
        with connected.open("lookup", {}, [still]) as session:
            # a session that was ended begins anew, and only then are frames read a second time
            reread = clip if how == "forgotten" else None
            stream = session.stream((clip(k) for k in range(24)), reread=reread)
            for k, result in enumerate(stream):
                got.append(bytes(result.buffers[0].data))
                if k in breaks:
                    time.sleep(0.1)  # all credit is out, and its results are here
                    harm(connected._connection)
                    time.sleep(0.1)
        return got

    def harm(connection) -> None:
        link = connection._link
        if link is None:
            return
        if how == "cut":
            link._peers[DATA].sock.shutdown(socket.SHUT_RDWR)
        elif how == "forgotten":  # as a process that was stopped for longer than silence may last
            connection.send(CTL, m.Bye())
        else:
            for _ in range(3):
                connection._outbox.append((CTL, [b"CBR\x01", b"\xc1"], None))
            link.wake()

    with victim.client(transport="zmtp") as connected:
        whole = run(connected, ())
        assert run(connected, (3, 11, 17)) == whole


def test_a_connection_cut_while_all_credit_is_out_sends_nothing_beyond_it(victim, still, clip):
    """The worker stands still meanwhile, so that the server holds all frames when it is resumed."""
    with (
        victim.client(transport="zmtp") as connected,
        connected.open("lookup", {}, [still]) as session,
    ):
        worker = connected.status()["worker"]["pid"]

        def cut() -> None:
            time.sleep(0.3)
            connected._connection._link._peers[DATA].sock.shutdown(socket.SHUT_RDWR)
            time.sleep(0.7)
            os.kill(worker, signal.SIGCONT)

        os.kill(worker, signal.SIGSTOP)
        thread = threading.Thread(target=cut)
        thread.start()
        try:
            indices = [result.index for result in session.stream(clip(k) for k in range(12))]
        finally:
            thread.join(timeout=10)
    assert indices == list(range(1001, 1013))


def test_frames_of_a_lost_connection_are_not_sent_on_the_next_one(victim, still, clip):
    """A slow source may hand over a frame long after the loss, before the session hears of it."""

    def source(connection):
        for k in range(10):
            if k == 6:
                connection._link._peers[CTL].sock.shutdown(socket.SHUT_RDWR)
                time.sleep(1.0)  # by now another connection stands
            yield clip(k)

    with (
        victim.client(transport="zmtp") as connected,
        connected.open("lookup", {}, [still]) as session,
    ):
        indices = [result.index for result in session.stream(source(connected._connection))]
    assert indices == list(range(1001, 1011))


def test_requests_fail_at_once_when_a_connection_is_given_up(victim):
    connected = victim.client(transport="zmtp", retry_for_s=0.0)
    connection = connected._connection
    connection._link._peers[CTL].sock.shutdown(socket.SHUT_RDWR)
    connection._thread.join(timeout=10)
    began = time.monotonic()
    with pytest.raises(BridgeError) as caught:
        connected.ping()
    assert caught.value.code == "disconnected"
    assert time.monotonic() - began < 2
