"""What the wire costs: round trips, its share of a session, start-up, memory over many frames.

    python benchmarks/wire.py [--frames 2000] [--python39 PYTHON]

All figures of one call come from one run, interleaved, so that their ratios hold on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgpack
import numpy as np
import zmq

from bridge_server.gate import Gate
from host_plugins.client import ClipFrame, ExemplarPicture, connect, plane
from host_plugins.launch import ConnectionInfo
from host_plugins.link import CTL, DATA, Link, open_link

PAYLOADS = {
    "luma f16 up, chroma f16 down": ((1080, 1920), (2, 1080, 1920), np.float16),
    "RGB f32 both ways": ((1080, 1920, 3), (1080, 1920, 3), np.float32),
}
ROUNDS = 15


def echo(folder: str, answers: dict[int, bytes]) -> None:
    """A server without work: answers a part of one size with a part of another."""
    gate = Gate(zmq.Context())
    tcp = gate.bind("tcp", {CTL: "tcp://127.0.0.1:*", DATA: "tcp://127.0.0.1:*"})
    ipc = gate.bind("ipc", {name: f"ipc://{folder}/{name}" for name in (CTL, DATA)})
    ConnectionInfo({"tcp": tcp, "ipc": ipc}, b"", b"", os.getpid(), "").save(
        Path(folder) / "echo.json"
    )
    poller = zmq.Poller()
    gate.register(poller)
    while True:
        poller.poll(1000)
        for channel, peer, parts in gate.receive():
            gate.send(channel, peer, [parts[0], answers[len(parts[1])]])


def round_trip(link: Link, part: memoryview) -> None:
    link.send(DATA, [b"head", part])
    while not any(channel == DATA for channel, _ in link.poll(5.0)):
        pass


def packed_round_trip(link: Link, array: np.ndarray, back: int) -> None:
    """The pattern that this wire avoids: pixels inside the msgpack blob, both ways."""
    blob = msgpack.packb({"q": 1, "pixels": array.tobytes()})
    link.send(DATA, [b"head", memoryview(blob)[: array.nbytes]])
    while True:
        arrived = [parts for channel, parts in link.poll(5.0) if channel == DATA]
        if arrived:
            break
    answer = msgpack.packb({"q": 1, "pixels": bytes(arrived[0][1])})
    np.frombuffer(msgpack.unpackb(answer, max_bin_len=back + 64)["pixels"], np.uint8).copy()


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measure_round_trips() -> list[dict[str, object]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        sizes = {
            int(np.prod(up)) * np.dtype(kind).itemsize: bytes(
                int(np.prod(down)) * np.dtype(kind).itemsize
            )
            for up, down, kind in PAYLOADS.values()
        }
        server = multiprocessing.Process(target=echo, args=(folder, sizes), daemon=True)
        server.start()
        file = Path(folder) / "echo.json"
        while not file.exists():
            time.sleep(0.05)
        endpoints = ConnectionInfo.load(file).endpoints
        for name, (up, down, kind) in PAYLOADS.items():
            array = np.random.default_rng(0).random(up).astype(kind)
            back = np.zeros(down, kind)
            links = {
                f"{transport} {scheme}": open_link(endpoints[scheme], transport=transport)
                for transport in ("zmq", "zmtp")
                for scheme in ("ipc", "tcp")
            }
            part = memoryview(array.reshape(-1).view(np.uint8))
            ways: dict[str, Callable[[], object]] = {
                "numpy copy of the same bytes": lambda a=array, b=back: (a.copy(), b.copy())
            }
            for label, link in links.items():
                ways[label] = lambda link=link, part=part: round_trip(link, part)
            slow = links["zmq tcp"]
            ways["zmq tcp, pixels inside msgpack"] = lambda link=slow, a=array, n=back: (
                packed_round_trip(link, a, n.nbytes)
            )
            times: dict[str, list[float]] = {label: [] for label in ways}
            for round_number in range(ROUNDS + 2):
                for label, call in ways.items():
                    took = seconds(call)
                    if round_number >= 2:
                        times[label].append(took)
            copy = statistics.median(times["numpy copy of the same bytes"])
            for label, took in times.items():
                median = statistics.median(took)
                rows.append(
                    {
                        "payload": name,
                        "way": label,
                        "ms": round(median * 1e3, 2),
                        "x_copy": round(median / copy, 2),
                    }
                )
            for link in links.values():
                link.close()
        server.terminate()
    return rows


def start_server(home: str) -> tuple[subprocess.Popen[str], float]:
    """A server of its own; returns it with the seconds until it said READY."""
    env = {**os.environ, "CHROMABRIDGE_HOME": home}
    started = time.perf_counter()
    command = [str(Path(sys.executable).with_name("chromabridge")), "serve"]
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("READY"), line
    return process, time.perf_counter() - started


def measure_session(file: Path) -> dict[str, object]:
    """The share of a session's wall time in which the worker did not compute."""
    tone = ExemplarPicture(plane("rgb", np.full((90, 160, 3), [180, 90, 40], np.uint8)))
    luma = np.random.default_rng(0).random((1080, 1920)).astype(np.float16)
    with connect(start=False, file=file) as server:
        with server.open("lookup", {}, [tone]) as session:
            list(session.stream(ClipFrame(k, (plane("y", luma),)) for k in range(5)))
        with server.open("lookup", {}, [tone]) as session:
            started = time.perf_counter()
            results = list(session.stream(ClipFrame(k, (plane("y", luma),)) for k in range(60)))
            wall = time.perf_counter() - started
    busy = sum(float(result.times_us["total"]) for result in results) / 1e6
    return {
        "frames": len(results),
        "worker_ms_per_frame": round(busy / len(results) * 1e3, 1),
        "transport_share": round(1 - busy / wall, 4),
    }


def measure_bare_client(python: str, file: Path) -> dict[str, object]:
    """Import and connect in a bare interpreter with msgpack alone."""
    script = (
        "import sys, time; s = time.perf_counter()\n"
        "from host_plugins.client import connect\n"
        "from pathlib import Path\n"
        f"c = connect(start=False, file=Path({str(file)!r}), transport='zmtp')\n"
        "print(time.perf_counter() - s, sys.version.split()[0]); c.close()"
    )
    root = Path(__file__).resolve().parents[1]
    env = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{Path(msgpack.__file__).parents[1]}"}
    env["MSGPACK_PUREPYTHON"] = "1"
    runs = []
    for _ in range(5):
        told = subprocess.run(
            [python, "-S", "-c", script], env=env, capture_output=True, text=True, check=True
        )
        took, version = told.stdout.split()
        runs.append(float(took))
    return {"python": version, "import_and_connect_ms": round(statistics.median(runs) * 1e3, 1)}


def resident(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def measure_memory(file: Path, frames: int) -> list[dict[str, float]]:
    """Resident MiB of front and worker every so many frames of a fast effect."""
    tone = ExemplarPicture(plane("rgb", np.full((90, 160, 3), [180, 90, 40], np.uint8)))
    luma = np.random.default_rng(0).random((540, 960)).astype(np.float16)
    rows = []
    with connect(start=False, file=file) as server:
        told = server.status()
        with server.open("lookup", {"working_size": 128}, [tone]) as session:
            stream = session.stream(ClipFrame(k, (plane("y", luma),)) for k in range(frames))
            for done, _ in enumerate(stream, 1):
                if done % max(1, frames // 4) == 0:
                    rows.append(
                        {
                            "frames": done,
                            "front_mib": round(resident(told["pid"]), 1),
                            "worker_mib": round(resident(told["worker"]["pid"]), 1),
                        }
                    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--python39", default=sys.executable)
    asked = parser.parse_args()
    report: dict[str, object] = {
        "python": platform.python_version(),
        "pyzmq": zmq.__version__,
        "libzmq": zmq.zmq_version(),
        "cpus": os.cpu_count(),
        "round_trips": measure_round_trips(),
    }
    with tempfile.TemporaryDirectory() as home:
        starts = []
        for _ in range(3):
            process, ready = start_server(home)
            starts.append(ready)
            process.terminate()
            process.wait()
        report["front_ready_s"] = round(statistics.median(starts), 2)
        process, _ = start_server(home)
        file = Path(home) / "run" / "server.json"
        try:
            report["bare_client"] = measure_bare_client(asked.python39, file)
            report["session"] = measure_session(file)
            report["memory"] = measure_memory(file, asked.frames)
        finally:
            process.terminate()
            process.wait()
    text = json.dumps(report, indent=1)
    print(text)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "wire.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
