"""The wall clock decides nothing: grace, silence, back-off and leases run on the monotonic one."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from bridge_server.worker.snapshots import SnapshotStore
from models.propagator import State

ROOT = Path(__file__).parents[2]
HOUR_S = 3600.0
WALL = {"time", "time_ns", "now", "utcnow", "today", "localtime", "gmtime"}

#: a server whose wall clock jumps whenever the file named first says by how much
JUMPING = """
import sys, time
from pathlib import Path
jump, true = Path(sys.argv.pop(1)), time.time
def jumping():
    return true() + float(jump.read_text() or 0)
time.time = jumping
time.time_ns = lambda: int(jumping() * 1e9)
from bridge_server.cli import main
sys.exit(main())
"""


def uses_of_the_wall_clock(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            named = f"{node.value.id}.{node.attr}"
            if node.value.id in ("time", "datetime", "date") and node.attr in WALL:
                found.append(named)
        elif isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime"):
            found += [name.name for name in node.names if name.name in WALL | {"datetime", "date"}]
    return found


def test_no_module_of_server_or_client_asks_for_the_time_of_day():
    assert uses_of_the_wall_clock("import time\ntime.time()") == ["time.time"]
    assert uses_of_the_wall_clock("from time import time") == ["time"]
    told = {
        str(path.relative_to(ROOT)): used
        for package in ("bridge_server", "host_plugins")
        for path in (ROOT / package).rglob("*.py")
        if (used := uses_of_the_wall_clock(path.read_text(encoding="utf-8")))
    }
    assert told == {}


def test_an_hour_forward_and_back_in_the_midst_of_a_clip_changes_nothing(
    own_server, still, clip, tmp_path, monkeypatch
):
    """Both sides jump: the front by its own clock, the client by the one of this process."""
    server = own_server()
    server.close()
    (server.home / "server.toml").write_text("idle_s = 60.0\ngrace_s = 60.0\n")
    jump = tmp_path / "jump"
    jump.write_text("0")

    def start() -> None:
        words = [sys.executable, "-c", JUMPING, str(jump), "serve"]
        with server.log.open("ab") as log:
            server.process = subprocess.Popen(words, env=server.env, stdout=log, stderr=log)
        server.wait_for_file()

    start()
    true = time.time

    def jump_by(seconds: float) -> None:
        jump.write_text(str(seconds))
        monkeypatch.setattr(time, "time", lambda: true() + seconds)
        time.sleep(0.6)  # two rounds of everything that is due

    with server.client() as connected:
        with connected.open("lookup", {}, [still]) as session:
            whole = [bytes(r.buffers[0].data) for r in session.stream(clip(k) for k in range(9))]
        got = []
        with connected.open("lookup", {}, [still]) as session, server.client() as parked:
            waiting = parked.open("lookup", {}, [still])
            for k, result in enumerate(session.stream(clip(k) for k in range(9))):
                got.append(bytes(result.buffers[0].data))
                if k in (2, 5):
                    jump_by(HOUR_S if k == 2 else -HOUR_S)
                    told = connected.status()
                    assert 0 <= told["uptime_s"] < 300
                    assert len(told["sessions"]) == 2  # none was ended as idle
            assert len(list(waiting.stream([clip(0)]))) == 1
            waiting.close()
        assert got == whole
        assert connected.ping() in ("idle", "busy")
    assert "silent" not in server.log.read_text()


def test_saved_states_are_found_and_kept_whatever_the_time_of_their_files(tmp_path):
    """Times of files only order what is dropped first; the state just written never is."""
    store = SnapshotStore(tmp_path, largest=3000)
    state = State({"a": torch.arange(256, dtype=torch.float32)}, {})
    store.save("a" * 8, 1, state)
    ahead = time.time() + HOUR_S
    os.utime(tmp_path / ("a" * 8 + ".safetensors"), (ahead, ahead))  # written before a jump back
    for q in range(2, 6):
        store.save("b" * 8, q, state)
        loaded = store.load("b" * 8)
        assert loaded is not None
        assert loaded[0] == q
    assert store.load("a" * 8) is not None
