"""Frames and exemplars that are the same in every run."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from host_plugins.client import ClipFrame, ExemplarPicture, plane
from host_plugins.connection import shake_hands
from host_plugins.launch import ConnectionInfo
from host_plugins.link import CTL, DATA, open_link
from host_plugins.wire import messages as m
from host_plugins.wire.framing import decode, encode


@pytest.fixture(scope="session")
def still() -> ExemplarPicture:
    rgb = np.random.default_rng(7).integers(0, 256, (45, 80, 3), dtype=np.uint8)
    return ExemplarPicture(plane("rgb", rgb))


def luma_frame(k: int, size: tuple[int, int] = (90, 160), first: int = 1001) -> ClipFrame:
    """Frame k of a clip that is the same in every run."""
    luma = np.random.default_rng(k).random(size).astype(np.float16)
    return ClipFrame(first + k, (plane("y", luma),))


def colors(results) -> list[bytes]:
    """The bytes of every result, in order."""
    return [bytes(result.buffers[0].data) for result in results]


@pytest.fixture
def clip():
    return luma_frame


@pytest.fixture
def bytes_of():
    return colors


def eventually(look, seconds: float = 30.0, what: str = "it did not come to that"):
    """The first true value of `look`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(what() if callable(what) else what)


def handles(pid: int) -> list[str]:
    """What a process holds open."""
    folder, found = Path(f"/proc/{pid}/fd"), []
    for entry in folder.iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:
            continue
    return sorted(found)


def memory(pid: int, name: str = "VmRSS") -> int:
    """Bytes of a process: VmRSS now, VmHWM at its peak."""
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(row for row in rows if row.startswith(name)).split()[1]) * 1024


def processes_of(home: Path) -> list[int]:
    """Everything that runs with this ChromaBridge folder, zombies left out."""
    wanted, found = f"CHROMABRIDGE_HOME={home}\0".encode(), []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and wanted in (entry / "environ").read_bytes() + b"\0":
                found.append(int(entry.name))
        except (OSError, ValueError):
            continue
    return found


class Census:
    """What a server holds before a test, and that it holds no more behind it."""

    def __init__(self, server, still, clip) -> None:
        self._server = server
        with server.client() as connected:
            with connected.open("lookup", {}, [still]) as session:  # all is loaded and connected
                assert len(list(session.stream(clip(k, (180, 320)) for k in range(3)))) == 3
            self.worker = connected.status()["worker"]["pid"]
        self.front = server.process.pid
        self._segments = set(Path("/dev/shm").iterdir())
        self._held = {pid: len(handles(pid)) for pid in (self.front, self.worker)}
        self._processes = set(processes_of(server.home))

    def check(self, still, clip) -> None:
        """Nothing leaked, and the server serves; sessions that were left end by themselves."""
        with self._server.client(name="census") as connected:
            with connected.open("lookup", {}, [still]) as session:
                assert len(list(session.stream(clip(k) for k in range(3)))) == 3
            eventually(lambda: not connected.status()["sessions"], 20, "a session is left")
        for pid, before in self._held.items():
            eventually(
                lambda pid=pid, before=before: len(handles(pid)) <= before,
                15,
                lambda pid=pid, before=before: f"{before} handles became {handles(pid)}",
            )
        assert set(processes_of(self._server.home)) <= self._processes
        segments = set(Path("/dev/shm").iterdir()) - self._segments
        ours = (self.front, self.worker)
        assert not [held for pid in ours for held in handles(pid) if Path(held) in segments]


class Rogue:
    """A client that speaks the protocol by hand and need not keep to it."""

    def __init__(self, server, **told: object) -> None:
        info = ConnectionInfo.load(server.file)
        self.link = open_link(info.endpoints["tcp"], transport="zmtp")
        try:
            shake_hands(self.link, info.token, {"name": "rogue", **told})
        except BaseException:
            self.link.close()
            raise
        self._heard: list[m.Message] = []

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()

    def say(self, channel: str, *messages: m.Message) -> None:
        """Queue messages and let the socket take what it can."""
        for message in messages:
            self.link.send(channel, encode(message))
        for peer in self.link._peers.values():
            peer.flush()

    def garbage(self, channel: str, *parts: bytes) -> None:
        self.link.send(channel, list(parts))
        for peer in self.link._peers.values():
            peer.flush()

    def hear(self, kind, seconds: float = 15.0):
        """The next message of a kind; others stay for later."""
        deadline = time.monotonic() + seconds
        while True:
            for message in self._heard:
                if isinstance(message, kind):
                    self._heard.remove(message)
                    return message
            assert time.monotonic() < deadline, f"no {kind.kind} came, but {self._heard}"
            self.listen(0.1)

    def listen(self, seconds: float) -> None:
        """Let the socket work and keep what comes."""
        self._heard += [decode(parts) for _, parts in self.link.poll(seconds)]

    def open(self, still, **options) -> m.Opened:
        refs = ({"id": still.digest, "fr": None},)
        self.say(CTL, m.Open("lookup", {"working_size": 64}, refs, request=1, **options))
        opened = self.hear(m.Opened)
        for digest in opened.need:
            self.say(DATA, m.Exemplar(opened.session, digest, (still.buffer,)))
        self.hear(m.Ready)
        return opened


@pytest.fixture
def rogue():
    return Rogue


@pytest.fixture
def until():
    return eventually


@pytest.fixture(scope="session")
def census():
    return Census
