"""Client, front and worker are killed, stopped and started again at points from a fixed seed."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

FRAMES = 90
#: each process is killed and stopped; the order and the moments come from the seed
FAULTS = [(who, how) for who in ("client", "front", "worker") for how in ("kill", "stop")]
FAULTS += [("client", "kill"), ("worker", "kill")]
SEED = 20261123

#: a host in small: takes up its job, writes each frame whole or not at all, and paces itself
CLIENT = """
import sys, time
from pathlib import Path
import numpy as np
from host_plugins.client import ClipFrame, ExemplarPicture, connect, plane
file, out, count, pause = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
def frame(k):
    luma = np.random.default_rng(k).random((90, 160)).astype(np.float16)
    return ClipFrame(k, (plane("y", luma),))
still = ExemplarPicture(plane("rgb", np.load(sys.argv[5])))
done = 0
while (out / f"{done:04}").exists():
    done += 1
with connect(start=False, file=file, name="chaos", retry_for_s=60) as server:
    session = server.open("lookup", {}, [still], job=out.name)
    if session.first_wanted > done:
        session.close()
        session = server.open("lookup", {}, [still], job=out.name, want={"upto": 0})
    first = session.first_wanted
    frames = (frame(k) for k in range(first, count))
    for result in session.stream(frames, reread=lambda k: frame(first + k)):
        path = out / f"{result.index:04}"
        data = bytes(result.buffers[0].data)
        if path.exists():
            assert path.read_bytes() == data, f"frame {result.index} differs"
        else:
            part = path.with_suffix(".part")
            part.write_bytes(data)
            part.rename(path)
        time.sleep(pause)
    session.close()
"""


@pytest.fixture
def host(own_server, still, tmp_path):
    """Starts the client above; everything that it needs is in place."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "server.toml").write_text("snapshot_frames = 5\n")
    server = own_server()
    rgb = np.frombuffer(still.buffer.data, np.uint8).reshape(still.buffer.shape)
    np.save(tmp_path / "still.npy", rgb)

    def start(out: Path, count: int, pause: float) -> subprocess.Popen[bytes]:
        out.mkdir(exist_ok=True)
        words = [str(server.file), str(out), str(count), str(pause), str(tmp_path / "still.npy")]
        return subprocess.Popen([sys.executable, "-c", CLIENT, *words], env=server.env)

    return server, start


def sums(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.suffix != ".part"
    }


def alive(home: Path) -> list[str]:
    """Processes of this test's ChromaBridge folder."""
    found, mark = [], f"CHROMABRIDGE_HOME={home}\0".encode()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_whatever_is_killed_or_stopped_the_files_are_those_of_an_unbroken_run(
    host, tmp_path, census, still, clip
):
    server, start = host
    assert start(tmp_path / "whole", FRAMES, 0.0).wait(timeout=60) == 0
    whole = sums(tmp_path / "whole")
    assert len(whole) == FRAMES

    chance = random.Random(SEED)
    faults = chance.sample(FAULTS, len(FAULTS))
    points = sorted(chance.sample(range(3, FRAMES - 15), len(faults)))
    broken = tmp_path / "broken"
    client = start(broken, FRAMES, 0.02)
    for (who, how), point in zip(faults, points, strict=True):
        deadline = time.monotonic() + 40
        while len(sums(broken)) < point:
            assert time.monotonic() < deadline, f"stuck at {len(sums(broken))} before {who} {how}"
            assert client.poll() in (None, 0), "the client gave up"
            time.sleep(0.005)
        worker = server.worker_pid()
        pid = {"client": client.pid, "front": server.process.pid, "worker": worker}[who]
        if how == "stop":
            os.kill(pid, signal.SIGSTOP)
            time.sleep(chance.uniform(0.1, 0.4))
            os.kill(pid, signal.SIGCONT)
            continue
        os.kill(pid, signal.SIGKILL)
        if who == "client":
            client.wait()
            client = start(broken, FRAMES, 0.02)
        elif who == "front":
            server.process.wait()
            server.start()
    assert client.wait(timeout=60) == 0
    assert sums(broken) == whole
    assert not list(broken.glob("*.part.*"))

    census(server, still, clip).check(still, clip)
    server.close()
    assert alive(server.home) == []
    left = [path.name for path in server.file.parent.iterdir()]
    assert left in ([], ["server.lock"])
    assert not list(server.home.rglob("*.part"))


def test_states_saved_ahead_of_what_arrived_lose_no_result(own_server, still, clip, tmp_path):
    """Killed right after a state was saved, while the results before it were not yet taken."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "server.toml").write_text("snapshot_frames = 1\nsnapshot_s = 0.0\n")
    server = own_server()

    def run(connected, job: str, kill: str = "") -> list[bytes]:
        got = []
        with connected.open("lookup", {}, [still], job=job) as session:
            stream = session.stream((clip(k) for k in range(12)), reread=clip)
            for k, result in enumerate(stream):
                got.append(bytes(result.buffers[0].data))
                if k != 5:
                    continue
                worker = server.worker_pid()
                time.sleep(0.3)  # all credit is computed and saved; nothing is acknowledged
                if kill == "worker":
                    os.kill(worker, signal.SIGKILL)
                elif kill == "front":
                    server.process.kill()
                    server.process.wait()
                    server.start()
        return got

    with server.client() as connected:
        whole = run(connected, "")
        assert run(connected, "ahead of the worker", "worker") == whole
        assert run(connected, "ahead of the front", "front") == whole
