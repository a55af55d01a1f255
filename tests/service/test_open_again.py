"""Opening a session while the server goes away, and at a state that is not the last one."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from host_plugins.client import BridgeError


def opening(connected, still) -> tuple[threading.Thread, list]:
    """A thread that opens a session, and what it came to."""
    came: list = []

    def work() -> None:
        try:
            came.append(connected.open("lookup", {}, [still]))
        except BridgeError as error:
            came.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, came


@pytest.mark.parametrize("transport", ["zmq", "zmtp"])
def test_an_open_whose_front_is_killed_before_it_answers_is_sent_again(
    own_server, still, clip, bytes_of, transport
):
    server = own_server()
    with server.client(transport=transport) as connected:
        with connected.open("lookup", {}, [still]) as session:
            whole = bytes_of(session.stream(clip(k) for k in range(4)))
        server.process.send_signal(signal.SIGSTOP)  # the request arrives and is not answered
        thread, came = opening(connected, still)
        time.sleep(0.5)
        assert not came
        server.process.kill()
        server.process.wait()
        server.start()
        thread.join(timeout=30)
        (session,) = came
        with session:
            assert bytes_of(session.stream(clip(k) for k in range(4))) == whole
        assert len(connected.status()["sessions"]) == 0


def test_an_open_whose_server_stays_away_fails_in_the_time_that_was_given(own_server, still):
    server = own_server()
    with server.client(retry_for_s=1.0) as connected:
        server.process.send_signal(signal.SIGSTOP)
        thread, came = opening(connected, still)
        time.sleep(0.3)
        server.process.kill()
        server.process.wait()
        thread.join(timeout=20)
        assert not thread.is_alive()
        assert came[0].code == "disconnected"


def test_a_job_begins_at_a_state_that_is_not_ahead_of_what_the_client_has(
    own_server, still, clip, bytes_of
):
    server = own_server()
    server.env["CHROMABRIDGE_SNAPSHOT_FRAMES"] = "4"
    server.close()
    server.start()
    with server.client() as connected:
        with connected.open("lookup", {}, [still], job="j") as session:
            whole = bytes_of(session.stream(clip(k) for k in range(14)))
        starts = {}
        for upto in (13, 11, 7, 0):
            with connected.open("lookup", {}, [still], job="j", want={"upto": upto}) as session:
                starts[upto] = start = session.first_wanted
                if upto == 11:
                    rest = bytes_of(session.stream(clip(k) for k in range(start, 11)))
                    assert whole[start:11] == rest
        assert all(start <= upto for upto, start in starts.items())
        for bad in (-1, True, "8"):
            with pytest.raises(BridgeError, match="upto"):
                connected.open("lookup", {}, [still], want={"upto": bad})
