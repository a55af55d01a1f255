"""Lets the tests of hosts import the doubles beside them; a home for each test; a real server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

FOOTAGE = Path(__file__).parent.parent / "footage" / "demo"
COMMAND = Path(
    os.environ.get("CHROMABRIDGE_SERVER") or Path(sys.executable).with_name("chromabridge")
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for settings, caches and servers that no other test sees."""
    folder = tmp_path / "home"
    monkeypatch.setenv("CHROMABRIDGE_HOME", str(folder))
    monkeypatch.setenv("CHROMABRIDGE_SERVER", str(COMMAND))
    return folder


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of a real server, which is started once and stopped at the end."""
    from host_plugins.client import connect

    if not COMMAND.exists():
        pytest.skip("the server is not installed beside this Python")
    folder = tmp_path_factory.mktemp("server")
    place = {"CHROMABRIDGE_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    log = str(folder / "server.log")
    process = subprocess.Popen(
        [str(COMMAND), "serve", "--log-file", log],
        env={**os.environ, **place},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    file = folder / "run" / "server.json"
    until = time.monotonic() + 30
    while not file.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    yield folder
    with connect(start=False, file=file) as server:
        server.stop()
    process.wait(20)


@pytest.fixture
def real_server(shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared server is this test's; returns its home."""
    monkeypatch.setenv("CHROMABRIDGE_HOME", str(shared_home))
    return shared_home


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo clip's first 10 frames, small: bw.1001.png ..., and still.png."""
    av = pytest.importorskip("av")
    folder = tmp_path_factory.mktemp("clip")
    with av.open(str(FOOTAGE / "bunny_bw.mp4")) as movie:
        for number, frame in enumerate(movie.decode(video=0), 1001):
            if number > 1010:
                break
            _write_small(frame, folder / f"bw.{number}.png")
    with av.open(str(FOOTAGE / "bunny_exemplar.jpg")) as still:
        _write_small(next(still.decode(video=0)), folder / "still.png")
    return folder


def _write_small(frame: Any, path: Path) -> None:
    oiio = pytest.importorskip("OpenImageIO")
    out = oiio.ImageOutput.create(str(path))
    out.open(str(path), oiio.ImageSpec(106, 60, 3, "uint8"))
    out.write_image(frame.to_ndarray(width=106, height=60, format="rgb24"))
    out.close()


def headless(home: Path, clip: str, exemplar: str, output: str, *more: str) -> None:
    """Colorize from the command line, with the server of this home."""
    command = [str(COMMAND), "colorize", clip, "-e", exemplar, "-o", output, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(name="headless")
def headless_fixture() -> object:
    return headless
