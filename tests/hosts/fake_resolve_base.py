"""What every object of the fake Resolve shares: how calls fail, who may call, what is noted."""

from __future__ import annotations

import functools
import inspect
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

API: dict[str, dict[str, list[Any] | None]] = json.loads(
    Path(__file__).with_name("resolve_api_compact.json").read_text(encoding="utf-8")
)


class BlockedForever(BaseException):
    """The call that would never return in a real Resolve."""


@dataclass
class Rules:
    """How this Resolve behaves; every field is a measured or documented trap."""

    studio: bool = True
    version: tuple[int, int, int] = (21, 0, 4)
    headless: bool = False
    end_inclusive: bool = False  # AppendToTimeline's endFrame, both are reported
    gallery_open: bool = False  # ExportStills is False without the Gallery panel
    marker_origin: str = "source"  # or "item": what item marker frames count from
    source_start_low: bool = True  # GetSourceStartFrame may read one low
    lag_polls: int = 3  # how often a finished job still says Rendering at 100
    frames_per_poll: int = 4
    stale_counts: bool = True  # GetTrackCount after AddTrack, until a page switch
    settle_s: float = 1.2  # a still needs this long after the playhead moved
    render_subfolder: str = ""  # presets may add sub-folders
    import_rate: str = "24"  # image sequences come in at 24 fps
    preset_import: bool = True
    render_drops: int = 0  # frames the renderer forgets
    render_fails: str = ""
    append_lies: bool = False  # append answers items that vanish at save
    import_gives: str = "clip"  # or "none" (a list of None), "empty"
    keyed_properties: bool = True  # GetClipProperty(name), deprecated in 21.1
    missing: frozenset[str] = frozenset()  # methods this version lacks
    modal_methods: frozenset[str] = frozenset(
        {"CreateMagicMask", "AnalyzeDolbyVision", "Stabilize", "SmartReframe"}
    )


class Clock:
    """Time that passes when somebody sleeps; worker threads still get a moment of real time."""

    def __init__(self) -> None:
        self.t = 100.0

    def now(self) -> float:
        return self.t

    def sleep(self, seconds: float) -> None:
        self.t += seconds
        time.sleep(min(seconds, 0.002))


@dataclass
class World:
    """State outside of any object: rules, clock, the call log, and accidents to come."""

    rules: Rules = field(default_factory=Rules)
    clock: Clock = field(default_factory=Clock)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    log: list[tuple[str, str, tuple[Any, ...]]] = field(default_factory=list)
    offenses: list[str] = field(default_factory=list)
    hiccups: Counter[str] = field(default_factory=Counter)  # answers None/False, does nothing
    lies: Counter[str] = field(default_factory=Counter)  # answers None/False, does it anyway
    modal: bool = False
    lost: bool = False
    on_call: dict[str, Callable[[], None]] = field(default_factory=dict)
    thread: int = field(default_factory=threading.get_ident)
    serial: int = 0

    def new_id(self, prefix: str) -> str:
        self.serial += 1
        return f"{prefix}-{self.serial:04d}"


class Remote:
    """A proxy as fusionscript gives it: any attribute 'exists', unknown ones are None."""

    def __init__(self, world: World) -> None:
        self.__dict__["world"] = world

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)

    def __dir__(self) -> list[str]:
        return [name for name in API.get(type(self).__name__, {}) if hasattr(type(self), name)]


class Api:
    """A scripting method: never raises, answers None or False, knows positional arguments only."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        functools.update_wrapper(self, function)  # type: ignore[arg-type]

    def __set_name__(self, owner: type, name: str) -> None:
        self.owner, self.name = owner.__name__, name
        told = API.get(self.owner, {}).get(name)
        self.failure: Any = None
        if told is not None and told[2].lower().startswith("bool"):
            self.failure = False
        if name == "AddRenderJob":
            self.failure = ""
        positional = [
            p for p in inspect.signature(self.function).parameters.values() if p.name != "self"
        ]
        self.most = len(positional)
        self.least = sum(1 for p in positional if p.default is inspect.Parameter.empty)

    def __get__(self, item: Remote | None, owner: type) -> Any:
        if item is None:
            return self
        world: World = item.__dict__["world"]
        if world.lost or self.name in world.rules.missing:
            return None
        return functools.partial(self._call, item, world)

    def _call(self, item: Remote, world: World, *args: Any, **named: Any) -> Any:
        world.calls[self.owner, self.name] += 1
        world.log.append((self.owner, self.name, args))
        if named:
            world.offenses.append(f"{self.owner}.{self.name}: keyword arguments {sorted(named)}")
            return self.failure
        if threading.get_ident() != world.thread:
            world.offenses.append(f"{self.owner}.{self.name}: called from another thread")
            return self.failure
        if not self.least <= len(args) <= self.most:
            world.offenses.append(f"{self.owner}.{self.name}: {len(args)} arguments")
            return self.failure
        if self.name in world.on_call:
            world.on_call.pop(self.name)()
        if not world.rules.studio and self.name in world.rules.modal_methods:
            world.modal = True
        if world.modal:
            return self.failure
        if world.hiccups[self.name] > 0:
            world.hiccups[self.name] -= 1
            return self.failure
        try:
            answer = self.function(item, *args)
        except Exception as problem:  # a real Resolve answers None and says nothing
            world.log.append((self.owner, f"{self.name} failed inside", (repr(problem),)))
            return self.failure
        if world.lies[self.name] > 0:
            world.lies[self.name] -= 1
            return self.failure
        return answer


api = Api
