"""A small project in the fake Resolve with real footage, and a server's stand-in, for the tests."""

from __future__ import annotations

import functools
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_resolve import Resolve, Rules, World, add_clip
from fake_resolve_media import read_picture, write_movie, write_picture

from host_plugins.host_layer import JobSpec, JobState, Panel, Pin, Settings, expand_pattern
from host_plugins.host_layer.messages import explain
from host_plugins.host_layer.record import write_record
from host_plugins.resolve_host.colorize import Run
from host_plugins.resolve_host.host import ResolveHost, open_host
from host_plugins.resolve_host.options import Options
from host_plugins.resolve_host.steps import drive
from host_plugins.wire.errors import BridgeError

START = 86400
FRAMES = 24
WORLDS: list[World] = []


@pytest.fixture(autouse=True)
def honest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After every test: no call broke a rule of the interface, none failed inside the double."""
    monkeypatch.setenv("CHROMABRIDGE_HOME", str(tmp_path / "home"))
    WORLDS.clear()
    yield
    for world in WORLDS:
        assert world.offenses == []
        assert [entry for entry in world.log if "failed inside" in entry[1]] == []


@functools.cache
def footage() -> Path:
    """A gray movie of 24 frames, 96x54, in which every frame is another."""
    path = Path(tempfile.mkdtemp()) / "shot.mov"
    rows, columns = np.mgrid[0:54, 0:96].astype(np.float32)
    frames = []
    for number in range(FRAMES):
        gray = 0.2 + 0.5 * (0.5 + 0.5 * np.sin(columns / 9 + number / 3)) * (0.4 + rows / 90)
        gray[2:8, 2 : 2 + 3 * number + 3] = 0.9  # a bar that tells the frame number
        frames.append(np.repeat(gray[..., None], 3, axis=2))
    write_movie(path, frames)
    return path


def frame_of(picture: Any) -> int:
    """Which source frame a picture shows, by its bar."""
    gray = picture[4].mean(axis=-1)
    edge = 0.85 * gray.max() if gray.max() > 0 else 1
    return round((int(np.argmax(gray[3:] < edge)) + 1) / 3) - 1


def scene(rules: Rules | None = None, *, name: str = "Feature") -> tuple[Resolve, Any]:
    """Resolve with a named project and a timeline: two clips on track 1, one trimmed, graded."""
    resolve = Resolve(World(rules=rules or Rules()))
    WORLDS.append(resolve.world)
    project = resolve.manager.current
    resolve.manager.projects[name] = resolve.manager.projects.pop("Untitled Project")
    project.__dict__["name"] = name
    timeline = project.new_timeline("Reel 1")
    add_clip(timeline, str(footage()), at=10, left=4, count=12, grade=0.8)
    add_clip(timeline, str(footage()), at=30, left=0, count=8)
    timeline.__dict__["playhead"] = START + 12
    return resolve, timeline


def host_of(resolve: Resolve) -> ResolveHost:
    clock = resolve.world.clock
    return open_host(connect=lambda: resolve, sleep=clock.sleep, now=clock.now)


def exemplar(folder: Path) -> Path:
    path = folder / "exemplar.png"
    if not path.exists():
        folder.mkdir(exist_ok=True)
        picture = read_picture_of_footage()
        picture[..., 0] *= 1.0
        picture[..., 2] *= 0.5
        write_picture(path, picture)
    return path


def read_picture_of_footage() -> Any:
    from fake_resolve_media import Media

    return Media(str(footage())).frame(6).copy()


def driven(host: ResolveHost, steps: Any, show: Any = lambda step: None) -> Any:
    """Drive a run to its end and give what it returns."""
    return drive(steps, sleep=host.calls.sleep, show=show)


def started(host: ResolveHost, service: Any, folder: Path, **options: Any) -> Run:
    """A run over track 1 with an exemplar, unless the options say otherwise."""
    told: dict[str, Any] = {"clips": "track:1", "folder": str(folder / "results"), **options}
    told.setdefault("exemplars", (Pin(str(exemplar(folder)), 6),))
    return Run.new(host, service, Options(**told))


def run(host: ResolveHost, service: Any, folder: Path, **options: Any) -> Run:
    """A whole run."""
    made = started(host, service, folder, **options)
    driven(host, made.steps())
    return made


def placed(timeline: Any, track: int) -> list[tuple[int, int, int]]:
    """(start relative to the timeline, first media frame, frames) of a track's items."""
    return [
        (item.start - START, item.left, item.duration)
        for item in timeline.tracks[track - 1]["items"]
    ]


def descriptor(effect: str) -> dict[str, Any]:
    """What a server says of an effect: a parameter of every kind."""
    strength = {"colormnet": "Memory strength"}.get(effect, "Strength")
    return {
        "id": effect,
        "label": effect.capitalize(),
        "version": [1, 0],
        "hint": "",
        "notice": "Made by tests.",
        "clips": [],
        "groups": [{"name": "main", "label": "Color"}, {"name": "more", "label": "More"}],
        "params": [
            {"name": "strength", "kind": "double", "label": strength, "hint": "How much.",
             "default": 1.0, "low": 0.0, "high": 3.0, "display": [0.0, 2.0]},
            {"name": "size", "kind": "int", "label": "Size", "hint": "", "default": 512,
             "low": 64, "high": 4096},
            {"name": "soft", "kind": "bool", "label": "Soft", "hint": "", "default": False},
            {"name": "radius", "kind": "int", "label": "Radius", "hint": "", "default": 3,
             "low": 1, "high": 9, "enabled_by": ["soft", True], "group": "more"},
            {"name": "gamut", "kind": "choice", "label": "Gamut", "hint": "", "default": "clip",
             "choices": ["clip", "none"], "labels": ["Clip", "None"], "group": "more"},
            {"name": "input_space", "kind": "string", "label": "Space", "hint": "", "default": "",
             "group": "more"},
            {"name": "table", "kind": "file", "label": "Table", "hint": "", "default": "",
             "group": "more"},
        ],
    }  # fmt: skip


@dataclass
class FakeJob:
    """Tints every plate on a thread, as the server would; writes what Job writes."""

    spec: JobSpec
    plates: list[Any]
    fail_at: int = -1
    during: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        self.done = 0
        self.error: Exception | None = None
        self.stopped = threading.Event()
        self.gate = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            for place, plate in enumerate(self.plates):
                if self.stopped.is_set():
                    return
                if place == self.fail_at:
                    raise BridgeError("oom", "the GPU is full")
                plate.buffer()
                picture = read_picture(plate.path).copy()
                picture[..., 2] *= 0.5
                target = expand_pattern(self.spec.pattern, plate.index)
                target.parent.mkdir(parents=True, exist_ok=True)
                write_picture(target, picture)
                self.done += 1
                if self.during is not None:
                    self.during(self.done)
        except Exception as problem:
            self.error = problem

    def poll(self) -> JobState:
        alive = self.thread.is_alive()
        stage = "running" if alive else "done"
        report, message = None, None
        if not alive and self.error is not None:
            stage, message = "failed", explain(self.error)
        elif not alive and self.stopped.is_set():
            stage = "cancelled"
        elif not alive:
            report = write_record(self.spec.folder, {"outcome": stage, "effect": self.spec.effect})
        return JobState(stage, self.done, 0, len(self.plates), message=message, report=report)

    def cancel(self) -> None:
        self.stopped.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        self.thread.join(timeout_s)
        return not self.thread.is_alive()


class FakeTask:
    def __init__(self, value: Any) -> None:
        self.value = value
        self.done = True
        self.message = None

    def result(self, timeout_s: float = 1.0) -> Any:
        return self.value


class FakeService:
    """Stands in for host_layer.Service."""

    def __init__(self, folder: Path, **job: Any) -> None:
        self.settings = Settings(cache=str(folder / "cache"))
        self.jobs: list[FakeJob] = []
        self._job = job

    def effects(self, *, start: bool = False, on_done: Any = None) -> FakeTask:
        return FakeTask(("starter", "colormnet"))

    def panel(self, effect: str = "", *, context: str = "filter", start: bool = False) -> FakeTask:
        return FakeTask(Panel.from_descriptor(descriptor(effect or "starter")))

    def remembered(self, effect: str = "") -> Any:
        return None

    def remembered_effects(self) -> tuple[str, ...]:
        return ()

    def start(self, spec: JobSpec, plates: Any, *, on_change: Any = None) -> FakeJob:
        self.jobs.append(FakeJob(spec, list(plates), **self._job))
        return self.jobs[-1]

    def close(self) -> None:
        pass
