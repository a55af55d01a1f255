"""A server under faults for a while: nothing lost, doubled or different, memory, control latency.

    python benchmarks/soak.py [--seconds 90] [--clients 3] [--seed 8] [--json FILE]

Clients stream short clips over and over while a saboteur kills and stops the worker, kills and
restarts the front, and cuts clients off. Every result is compared with an unbroken run's.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from host_plugins.client import BridgeError, ClipFrame, ExemplarPicture, Server, connect, plane
from host_plugins.launch import ConnectionInfo

FRAMES = 24
SIZE = (270, 480)
FAULT_EVERY_S = 6.0


class Soaked:
    """The server process, its memory, and what was done to it."""

    def __init__(self, home: Path) -> None:
        self.file = home / "run" / "server.json"
        self.log = home / "soak.log"
        self.env = {**os.environ, "CHROMABRIDGE_HOME": str(home), "OMP_NUM_THREADS": "1"}
        self.env["CHROMABRIDGE_SNAPSHOT_FRAMES"] = "8"
        home.mkdir(parents=True)
        self.peak_bytes = {"front": 0, "worker": 0}
        self.worker = 0
        self.start()

    def start(self) -> None:
        command = [str(Path(sys.executable).with_name("chromabridge")), "serve"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(BridgeError):
                if ConnectionInfo.load(self.file).pid == self.process.pid:
                    return
            time.sleep(0.05)
        raise SystemExit("the server did not start: " + self.log.read_text()[-2000:])

    def client(self, name: str) -> Server:
        return connect(start=False, file=self.file, name=name, retry_for_s=120.0)

    def look(self) -> None:
        """Keep the largest resident memory seen of both processes."""
        for name, pid in (("front", self.process.pid), ("worker", self.worker)):
            with suppress(OSError, StopIteration, ValueError):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                peak = next(line for line in lines if line.startswith("VmHWM"))
                self.peak_bytes[name] = max(self.peak_bytes[name], int(peak.split()[1]) * 1024)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@functools.cache
def frame(k: int) -> ClipFrame:
    """Frame k, the same in every run."""
    luma = np.random.default_rng(k).random(SIZE).astype(np.float16)
    return ClipFrame(k, (plane("y", luma),))


def exemplar() -> ExemplarPicture:
    rgb = np.random.default_rng(7).integers(0, 256, (45, 80, 3), dtype=np.uint8)
    return ExemplarPicture(plane("rgb", rgb))


def run_clip(server: Server) -> list[tuple[int, bytes]]:
    """Every result of one clip as (frame number, bytes), through whatever happens."""
    with server.open("lookup", {}, [exemplar()]) as session:
        stream = session.stream((frame(k) for k in range(FRAMES)), reread=frame)
        return [(result.index, bytes(result.buffers[0].data)) for result in stream]


def work(soaked: Soaked, name: str, ending: threading.Event, tally: dict[str, Any]) -> None:
    """Stream clips until the end; each result is accounted for."""
    while not ending.is_set():
        try:
            with soaked.client(name) as server:
                while not ending.is_set():
                    account(run_clip(server), tally)
        except BridgeError as error:
            with tally["lock"]:
                code = error.code
                tally["clips_given_up"][code] = tally["clips_given_up"].get(code, 0) + 1
            ending.wait(0.5)


def account(got: list[tuple[int, bytes]], tally: dict[str, Any]) -> None:
    indices = [index for index, _ in got]
    with tally["lock"]:
        tally["clips"] += 1
        tally["frames"] += len(got)
        tally["lost"] += len(set(range(FRAMES)) - set(indices))
        tally["doubled"] += len(indices) - len(set(indices))
        tally["differing"] += sum(data != tally["expected"][index] for index, data in got)


def ping(soaked: Soaked, ending: threading.Event, tally: dict[str, Any]) -> None:
    """Control round trips while the worker is busy and no fault is being injected."""
    while not ending.is_set():
        with suppress(BridgeError), soaked.client("latency") as server:
            while not ending.is_set():
                soaked.worker = server.status()["worker"]["pid"]
                soaked.look()
                faults = sum(tally["faults"].values())
                calm = tally["calm"]
                began = time.perf_counter()
                state = server.ping()
                took = time.perf_counter() - began
                undisturbed = calm and tally["calm"] and faults == sum(tally["faults"].values())
                if state == "busy" and undisturbed:
                    tally["pings"].append(took)
                ending.wait(0.02)
        ending.wait(0.2)


def sabotage(soaked: Soaked, kind: str) -> None:
    if kind == "front killed":
        soaked.process.kill()
        soaked.process.wait()
        soaked.start()
        return
    with suppress(ProcessLookupError):
        if kind == "worker killed":
            os.kill(soaked.worker, signal.SIGKILL)
        else:
            pid = soaked.worker if kind == "worker stopped" else soaked.process.pid
            os.kill(pid, signal.SIGSTOP)
            time.sleep(1.0)
            os.kill(pid, signal.SIGCONT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    chance = random.Random(told.seed)
    ending = threading.Event()
    kinds = ("worker killed", "worker stopped", "front killed", "front stopped")
    tally: dict[str, Any] = {
        **dict.fromkeys(("clips", "frames", "lost", "doubled", "differing"), 0),
        **{"clips_given_up": {}, "pings": [], "lock": threading.Lock()},
        "faults": dict.fromkeys(kinds, 0),
        "calm": True,
    }
    with tempfile.TemporaryDirectory() as folder:
        soaked = Soaked(Path(folder) / "home")
        with soaked.client("reference") as server:
            tally["expected"] = dict(run_clip(server))
        threads = [threading.Thread(target=ping, args=(soaked, ending, tally))]
        for number in range(told.clients):
            arguments = (soaked, f"client {number}", ending, tally)
            threads.append(threading.Thread(target=work, args=arguments))
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + told.seconds
        while time.monotonic() < deadline:
            ending.wait(FAULT_EVERY_S * chance.uniform(0.5, 1.5))
            kind = kinds[sum(tally["faults"].values()) % len(kinds)]
            tally["calm"] = False
            sabotage(soaked, kind)
            tally["faults"][kind] += 1
            tally["calm"] = True
        ending.set()
        for thread in threads:
            thread.join(timeout=120)
        hung = sum(thread.is_alive() for thread in threads)
        with soaked.client("afterwards") as server:
            serves = dict(run_clip(server)) == tally["expected"]
        soaked.stop()
    report = {
        "seconds": told.seconds,
        "clients": told.clients,
        "frame": list(SIZE),
        "processors": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        **{name: tally[name] for name in ("clips", "frames", "faults", "lost", "doubled")},
        **{"differing": tally["differing"], "clips_given_up": tally["clips_given_up"]},
        "clients_hung": hung,
        "serves_afterwards": serves,
        "peak_mib": {name: round(peak / 2**20, 1) for name, peak in soaked.peak_bytes.items()},
        "control_ms": _percentiles(tally["pings"]),
    }
    text = json.dumps(report, indent=1)
    print(text)
    if told.json is not None:
        told.json.write_text(text + "\n", encoding="utf-8")
    failed = hung or not serves or tally["lost"] or tally["doubled"] or tally["differing"]
    raise SystemExit(1 if failed else 0)


def _percentiles(seconds: list[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return {"count": len(seconds)}
    cuts = statistics.quantiles(seconds, n=100)
    p50, p99 = round(cuts[49] * 1e3, 2), round(cuts[98] * 1e3, 2)
    return {"count": len(seconds), "p50": p50, "p99": p99, "max": round(max(seconds) * 1e3, 2)}


if __name__ == "__main__":
    main()
