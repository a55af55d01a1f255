"""The Resolve that a run works in: its project and timeline, kept an eye on while time passes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from host_plugins.resolve_host.calls import Calls, HostChanged, Refused
from host_plugins.resolve_host.connect import from_menu, from_outside
from host_plugins.resolve_host.edition import Edition, read_edition
from host_plugins.resolve_host.frames import Rate
from host_plugins.resolve_host.properties import needed_setting, setting
from host_plugins.wire.errors import BridgeError

UNTITLED = "Untitled Project"


@dataclass
class Memory:
    """What was found out about this Resolve. end_inclusive: endFrame counts; None: not known."""

    end_inclusive: Optional[bool] = None


@dataclass(frozen=True)
class ResolveHost:
    """resolve: the root object. fusion, bmd: for windows, None outside. calls: the guard."""

    resolve: Any
    calls: Calls
    edition: Edition
    fusion: Any = None
    bmd: Any = None
    memory: Memory = field(default_factory=Memory)

    def project(self) -> Any:
        """The open project. Raises Refused."""
        manager = self.calls.must(self.resolve, "GetProjectManager")
        return self.calls.must(
            manager, "GetCurrentProject", hint="Open a project in Resolve and run again."
        )

    def timeline(self) -> Any:
        """The current timeline. Raises Refused."""
        return self.calls.must(
            self.project(), "GetCurrentTimeline", hint="Open a timeline in Resolve and run again."
        )

    def pool(self) -> Any:
        return self.calls.must(self.project(), "GetMediaPool")

    def rate(self, timeline: Any) -> Rate:
        """The timeline's frame rate, drop-frame or not."""
        drop = setting(self.calls, timeline, "timelineDropFrameTimecode")
        told = needed_setting(self.calls, timeline, "timelineFrameRate")
        return Rate.parse(told, drop=drop == "1")

    def size(self, timeline: Any) -> tuple[int, int]:
        """Height and width of the timeline."""
        told = [
            needed_setting(self.calls, timeline, f"timelineResolution{side}")
            for side in ("Height", "Width")
        ]
        return int(float(told[0])), int(float(told[1]))

    def open_page(self, page: str) -> None:
        """Switch; what the page shows is read back where Resolve tells it (not headless)."""
        here = self.calls.get(self.resolve, "GetCurrentPage")
        if here != page:
            self.calls.must(
                self.resolve,
                "OpenPage",
                page,
                done=lambda: self.calls.get(self.resolve, "GetCurrentPage") == page,
            )

    def refresh(self) -> None:
        """Go away from the Edit page and come back: track counts may be stale until then."""
        self.calls.must(self.resolve, "OpenPage", "media")
        self.calls.must(self.resolve, "OpenPage", "edit")

    def save(self) -> bool:
        """Save a project that has a name; the never-saved one blocks for ever without windows.

        Returns whether it was saved.
        """
        if self.calls.must(self.project(), "GetName") == UNTITLED:
            return False
        manager = self.calls.must(self.resolve, "GetProjectManager")
        return bool(self.calls.must(manager, "SaveProject"))


def open_host(
    namespace: Optional[Mapping[str, Any]] = None,
    *,
    connect: Callable[[], Any] = from_outside,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> ResolveHost:
    """Connect by a menu script's globals, or from outside.

    Raises BridgeError host_not_found, host_unsupported, host_lost.
    """
    resolve = from_menu(namespace) if namespace is not None else None
    if resolve is None:
        resolve = connect()
    calls = Calls(resolve, sleep=sleep, now=now)
    calls.check_alive()
    edition = read_edition(calls)
    if not edition.supported:
        raise BridgeError(
            "host_unsupported", edition.sentence, hint="docs/resolve.md has the table of editions."
        )
    names: Mapping[str, Any] = namespace or {}
    fusion = names.get("fusion") or names.get("fu")
    return ResolveHost(resolve, calls, edition, fusion, names.get("bmd"))


class Watch:
    """Remembers project and timeline, and says when they are not there any more."""

    def __init__(self, host: ResolveHost) -> None:
        self._host = host
        self.project = host.project()
        self.timeline = host.timeline()
        self._project_id = self._id(self.project)
        self._timeline_id = self._id(self.timeline)

    def check(self) -> None:
        """Raises HostChanged, HostLost."""
        calls = self._host.calls
        calls.check_alive()
        manager = calls.must(self._host.resolve, "GetProjectManager")
        try:
            project = calls.must(manager, "GetCurrentProject")
        except Refused:
            raise HostChanged("The project was closed while the run went on") from None
        if self._id(project) != self._project_id:
            raise HostChanged("Another project was opened while the run went on")
        for index in range(1, int(calls.get(project, "GetTimelineCount", default=0)) + 1):
            timeline = calls.ask(project, "GetTimelineByIndex", index)
            if timeline is not None and self._id(timeline) == self._timeline_id:
                return
        raise HostChanged("The timeline was deleted while the run went on")

    def make_current(self) -> Any:
        """Make the remembered timeline the current one: appending acts on that one only.

        Returns the timeline that was current, None when it is the same.
        """
        self.check()
        calls = self._host.calls
        before = calls.ask(self.project, "GetCurrentTimeline")
        if before is not None and self._id(before) == self._timeline_id:
            return None
        calls.must(self.project, "SetCurrentTimeline", self.timeline)
        return before

    def _id(self, item: Any) -> str:
        return str(self._host.calls.must(item, "GetUniqueId"))
