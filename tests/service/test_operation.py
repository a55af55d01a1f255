"""What an operator sees: metrics, the status page, and that looking holds nothing up."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest

from bridge_server.thumbnails import png
from host_plugins.client import ExemplarPicture, plane


@pytest.fixture
def watched(own_server):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = own_server("--metrics-port", str(port))

    def get(path: str, **headers: str) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read()

    return server, get


def counters(text: bytes) -> dict[str, float]:
    lines = [line for line in text.decode().splitlines() if line and not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def eventually(look, seconds: float = 30.0):
    """The first true value of `look`; what is published is at most half a second old."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            found = look()
        except urllib.error.HTTPError as error:
            found = error.close()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


def status_code(get, path: str, **headers: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(path, **headers)
    caught.value.close()
    return caught.value.code


def test_metrics_and_page_tell_what_the_server_did(watched, clip):
    server, get = watched
    tone = ExemplarPicture(plane("rgb", np.full((8, 8, 3), [200, 60, 40], np.uint8)))
    eventually(lambda: get("/status.json"))
    with (
        server.client(name="nuke <script>") as connected,
        connected.open("lookup", {}, [tone]) as session,
    ):
        get("/status.json")  # somebody looks: thumbnails are taken from now on
        assert len(list(session.stream(clip(k) for k in range(6)))) == 6
        told = eventually(lambda: _if(json.loads(get("/status.json")), "frames", 6))
        (shown,) = told["sessions"]
        assert (shown["effect"], shown["done"], shown["last"]) == ("lookup", 6, 1006)
        assert shown["made_by"]["network"] == "lookup"
        assert shown["thumbnail"]
        both = cv2.imdecode(
            np.frombuffer(get(f"/frame/{shown['id']}"), np.uint8), cv2.IMREAD_COLOR
        ).astype(int)
        half = (both.shape[1] - 2) // 2
        before, after = both[:, :half], both[:, -half:]
        assert np.ptp(before, axis=2).max() == 0
        assert (after[..., 2] - after[..., 0]).mean() > 20  # the exemplar is red

        values = counters(get("/metrics"))
        assert values["chromabridge_frames_total"] == 6
        assert values["chromabridge_sessions"] == 1
        assert values["chromabridge_results_resent_total"] == 0
        assert values['chromabridge_stage_seconds_count{stage="total"}'] == 6
        assert values['chromabridge_stage_seconds_bucket{le="+Inf",stage="total"}'] == 6
        assert values['chromabridge_device_seconds_total{priority="batch"}'] > 0
        held = values['chromabridge_device_memory_held_bytes{device="cpu"}']
        budget = values['chromabridge_device_memory_total_bytes{device="cpu"}']
        resident = _resident(server.worker_pid())
        assert 0.5 * resident < held < 2 * resident
        assert held < budget
        assert json.loads(get("/status.json"))["worker"]["memory"]["device"] == "cpu"
        assert "memory of cpu: " in server.command("status").stdout
        os.kill(server.worker_pid(), signal.SIGKILL)
        deaths = "chromabridge_worker_deaths_total"
        eventually(lambda: counters(get("/metrics"))[deaths] == 1)

    page = get("/").decode()
    assert "ChromaBridge" in page
    assert "http" not in page.replace("<!doctype html>", "").lower()  # nothing from elsewhere
    assert "worker.memory" in page
    assert "innerHTML" not in page  # clients' names are set as text
    assert status_code(get, "/../etc/passwd") == 404
    assert status_code(get, "/frame/00000000") == 404
    assert status_code(get, "/status.json", Host="evil.example") == 403


def test_the_greeting_tells_what_each_effect_would_run_with_and_why(watched):
    server, _ = watched

    def choices():
        with server.client() as connected:
            return connected.info["choices"]

    eventually(lambda: {"colormnet", "deep_exemplar", "starter"} <= set(choices()))
    told = choices()
    assert told["deep_exemplar"][0].startswith("device: cpu (")
    assert {"precision: fp32", "attention: none"} <= set(told["deep_exemplar"])
    assert "attention: sdpa" in told["colormnet"]


def _resident(pid: int) -> int:
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(row for row in rows if row.startswith("VmRSS")).split()[1]) * 1024


def test_on_cuda_the_device_is_told_and_what_the_worker_holds_of_it(monkeypatch):
    from accel.device import Facts
    from bridge_server.worker.memory import device_memory

    monkeypatch.setattr("torch.cuda.mem_get_info", lambda index: (3 << 30, (8 + index) << 30))
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda index: 2 << 30)
    monkeypatch.setattr("torch.cuda.max_memory_reserved", lambda index: 3 << 30)
    facts = Facts("cuda", "a card", 9 << 30, 9 << 30, "2.7", index=1)
    told = device_memory(facts)
    assert told == {"device": "cuda:1", "used": 6 << 30, "total": 9 << 30, "held": 2 << 30,
                    "peak": 3 << 30}  # fmt: skip
    assert device_memory(None)["device"] == "cpu"


def test_readers_that_hang_do_not_hold_the_server_up(watched):
    server, get = watched
    port = int(server.flags[1])
    hanging = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(20)]
    for sock in hanging:
        sock.sendall(b"GET /metrics HTTP/1.1\r\n")
    with server.client() as connected:
        assert connected.ping()
    assert b"ChromaBridge" in get("/")
    for sock in hanging:
        sock.close()


def test_thumbnails_show_gray_and_color_whatever_the_numbers():
    gray = np.array([[0.0, 0.5], [1.0, np.nan]], np.float32)
    chroma = np.full((2, 2, 2), np.inf, np.float32)
    chroma[:, 0, 1] = 0
    picture = cv2.imdecode(np.frombuffer(png((gray, chroma)), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (2, 6, 3)
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert picture[1, 0].tolist() == [255, 255, 255]
    np.testing.assert_allclose(picture[0, 5].astype(int), picture[0, 1].astype(int), atol=1)


def _if(told: dict, name: str, value: int) -> dict | None:
    return told if told[name] == value and told["sessions"][0]["thumbnail"] else None
