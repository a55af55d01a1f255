"""Puts back what a run changes in Resolve: page, timeline, playhead, tracks, Deliver settings.

Whatever fails on the way back is noted, never raised: the rest must still be restored.
"""

from __future__ import annotations

from typing import Any, Callable

from host_plugins.resolve_host.host import ResolveHost
from host_plugins.resolve_host.labels import TEMPORARY
from host_plugins.wire.errors import BridgeError


class Restorer:
    """A context manager. notes: a sentence for each thing that could not be put back."""

    def __init__(self, host: ResolveHost) -> None:
        self._host = host
        self._undo: list[tuple[str, Callable[[], object]]] = []
        self.notes: list[str] = []

    def __enter__(self) -> Restorer:
        return self

    def __exit__(self, *_: object) -> None:
        while self._undo:
            what, action = self._undo.pop()
            try:
                action()
            except BridgeError as problem:
                self.notes.append(f"Could not restore {what}: {problem.message}")

    def later(self, what: str, action: Callable[[], object]) -> None:
        """Run `action` at the end; last in, first out."""
        self._undo.append((what, action))

    def page(self) -> None:
        """Come back to the page that is open now; there is none to read without windows."""
        here = self._host.calls.get(self._host.resolve, "GetCurrentPage")
        if here:
            self.later(f"the {here} page", lambda: self._host.open_page(str(here)))

    def current_timeline(self, project: Any) -> None:
        calls = self._host.calls
        timeline = calls.ask(project, "GetCurrentTimeline")
        if timeline is not None:
            self.current_timeline_is(project, timeline)

    def current_timeline_is(self, project: Any, timeline: Any) -> None:
        """Make this one current at the end."""
        calls = self._host.calls
        self.later(
            "the current timeline", lambda: calls.must(project, "SetCurrentTimeline", timeline)
        )

    def playhead(self, timeline: Any) -> None:
        calls = self._host.calls
        timecode = calls.get(timeline, "GetCurrentTimecode", default="")
        if timecode:
            self.later(
                "the playhead",
                lambda: calls.must(
                    timeline,
                    "SetCurrentTimecode",
                    timecode,
                    done=lambda: calls.ask(timeline, "GetCurrentTimecode") == timecode,
                ),
            )

    def marks(self, timeline: Any) -> None:
        """In and out marks, which a render range overwrites; from 19.1 on they can be read."""
        calls = self._host.calls
        if not calls.has(timeline, "GetMarkInOut"):
            return
        told = (calls.ask(timeline, "GetMarkInOut") or {}).get("video") or {}
        if "in" in told and "out" in told:
            first, last = round(told["in"]), round(told["out"])
            self.later(
                "the in and out marks", lambda: calls.must(timeline, "SetMarkInOut", first, last)
            )
        else:
            self.later(
                "the absence of in and out marks", lambda: calls.must(timeline, "ClearMarkInOut")
            )

    def bin(self, pool: Any) -> None:
        calls = self._host.calls
        folder = calls.ask(pool, "GetCurrentFolder")
        if folder is not None:
            self.later("the current bin", lambda: calls.must(pool, "SetCurrentFolder", folder))

    def solo(self, timeline: Any, track: int, count: int) -> None:
        """Disable every other video track; only the Edit page takes that."""
        self._host.open_page("edit")
        for index in range(1, count + 1):
            before = bool(self._host.calls.ask(timeline, "GetIsTrackEnabled", "video", index))
            wanted = index == track
            if before != wanted:
                self.later(f"video track {index}", self._enabling(timeline, index, before))
                self._enable(timeline, index, wanted)

    def deliver(self, project: Any) -> None:
        """The Deliver page's settings. They cannot be read, but kept as a preset and loaded."""
        calls = self._host.calls
        if calls.has(project, "DeleteRenderPreset"):
            name = f"{TEMPORARY} deliver"
            calls.get(project, "DeleteRenderPreset", name)  # left by a run that was killed
            if calls.get(project, "SaveAsNewRenderPreset", name) or name in (
                calls.get(project, "GetRenderPresetList", default=[])
            ):
                self._preset(project, name)
            else:
                self.notes.append("Resolve would not keep the Deliver page's settings: look there")
        told = calls.get(project, "GetCurrentRenderFormatAndCodec", default={})
        if told.get("format") and told.get("codec"):
            self.later(
                "the render format",
                lambda: calls.must(
                    project, "SetCurrentRenderFormatAndCodec", told["format"], told["codec"]
                ),
            )
        mode = calls.get(project, "GetCurrentRenderMode", default=None)
        if mode is not None:
            self.later(
                "the render mode", lambda: calls.must(project, "SetCurrentRenderMode", int(mode))
            )

    def _preset(self, project: Any, name: str) -> None:
        calls = self._host.calls
        self.later(
            "the list of render presets",
            lambda: calls.must(
                project,
                "DeleteRenderPreset",
                name,
                done=lambda: name not in calls.get(project, "GetRenderPresetList", default=[]),
            ),
        )
        self.later(
            "the Deliver page's settings",
            lambda: calls.must(project, "LoadRenderPreset", name),
        )

    def _enabling(self, timeline: Any, index: int, enabled: bool) -> Callable[[], object]:
        def enable() -> None:
            self._host.open_page("edit")
            self._enable(timeline, index, enabled)

        return enable

    def _enable(self, timeline: Any, index: int, enabled: bool) -> None:
        calls = self._host.calls
        calls.must(
            timeline,
            "SetTrackEnable",
            "video",
            index,
            enabled,
            done=lambda: bool(calls.ask(timeline, "GetIsTrackEnabled", "video", index)) == enabled,
        )
