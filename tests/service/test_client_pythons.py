"""The client on every Python that hosts may bring, with pure-Python msgpack alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import msgpack
import pytest

from install import interpreters
from install.machine import Machine

ROOT = Path(__file__).parents[2]
SCRIPT = """
import array, hashlib, sys
from pathlib import Path
from host_plugins.client import Buffer, ClipFrame, ExemplarPicture, connect
for name in ("numpy", "zmq", "torch", "bridge_server"):
    assert name not in sys.modules, name
tone = ExemplarPicture(Buffer("rgb", "u1", (4, 4, 3), bytes(range(48))))
luma = [Buffer("y", "u1", (18, 32), bytes((7 * k + i) % 256 for i in range(576))) for k in range(6)]
digest = hashlib.sha256()
with connect(start=False, file=Path(sys.argv[1]), name="bare", transport="zmtp") as server:
    assert server.ping()
    with server.open("lookup", {}, [tone]) as session:
        for k, result in enumerate(session.stream(ClipFrame(k, (y,)) for k, y in enumerate(luma))):
            assert result.index == k
            digest.update(result.buffers[0].data)
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """Only host_plugins and the Python files of msgpack."""
    folder = tmp_path_factory.mktemp("bare")
    ours = shutil.ignore_patterns("__pycache__", "*_host", "host_layer")
    shutil.copytree(ROOT / "host_plugins", folder / "host_plugins", ignore=ours)
    (folder / "msgpack").mkdir()
    for file in Path(msgpack.__file__).parent.glob("*.py"):
        shutil.copy(file, folder / "msgpack")
    return folder


def test_the_client_gets_the_same_bytes_on_every_python_a_host_may_bring(server, bare):
    found = interpreters.find(Machine())
    assert found, "expected at least the Python of these tests"
    digests = {}
    for minor, interpreter in sorted(found.items()):
        told = subprocess.run(
            [str(interpreter.path), "-S", "-E", "-c", _with_path(bare), str(server.file)],
            env={**os.environ, "MSGPACK_PUREPYTHON": "1"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert told.returncode == 0, f"3.{minor}: {told.stderr}"
        digests[minor] = told.stdout.strip()
    assert len(set(digests.values())) == 1, digests


def _with_path(folder: Path) -> str:
    return f"import sys; sys.path.insert(0, {str(folder)!r})\n" + SCRIPT
