"""Shared test set-up: passive OpenMP waits, markers by hardware, real servers to talk to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # one process a core: more threads would only contend
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from host_plugins.client import connect
from host_plugins.launch import ConnectionInfo


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    try:
        import torch

        has_cuda = torch.cuda.is_available()
    except ImportError:
        has_cuda = False
    for item in items:
        if "gpu" in item.keywords and not has_cuda:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


class RunningServer:
    """A server process; `client()` connects to it, `kill` and `stop` end it."""

    def __init__(self, home: Path, *flags: str) -> None:
        self.home = home
        self.file = home / "run" / "server.json"
        self.flags = flags
        self.env = {**os.environ, "CHROMABRIDGE_HOME": str(home), "OMP_NUM_THREADS": "1"}
        self.log = home / "test-server.log"
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        self.home.mkdir(parents=True, exist_ok=True)
        command = [str(Path(sys.executable).with_name("chromabridge")), "serve", *self.flags]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self.env, stdout=log, stderr=log)
        self.wait_for_file()
        return self.process

    def wait_for_file(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.file.exists() and ConnectionInfo.load(self.file).pid == self.process.pid:
                return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        raise AssertionError("no connection file: " + self.log.read_text())

    def client(self, **options):
        return connect(start=False, file=self.file, **options)

    def command(self, *words: str, timeout: float = 90) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).with_name("chromabridge")), *words],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    def worker_pid(self) -> int:
        with self.client() as server:
            return server.status()["worker"]["pid"]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for all tests that leave it standing."""
    running = RunningServer(tmp_path_factory.mktemp("s") / "home")
    yield running
    running.close()


@pytest.fixture
def own_server(tmp_path):
    """A server that the test may kill; flags are passed on."""
    running = []

    def make(*flags: str) -> RunningServer:
        running.append(RunningServer(tmp_path / "home", *flags))
        return running[-1]

    yield make
    for each in running:
        each.close()
