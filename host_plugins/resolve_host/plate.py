"""The frames of one clip for the server: rendered with or without its grade, or its own files."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_plugins.host_layer import PlateFile
from host_plugins.resolve_host.calls import Refused
from host_plugins.resolve_host.clips import TimelineClip, items
from host_plugins.resolve_host.end_frame import end_frames
from host_plugins.resolve_host.frames import Range
from host_plugins.resolve_host.host import ResolveHost, Watch
from host_plugins.resolve_host.labels import TEMPORARY
from host_plugins.resolve_host.properties import clip_property
from host_plugins.resolve_host.render import RenderOrder, render
from host_plugins.resolve_host.restore import Restorer
from host_plugins.resolve_host.source_file import read_source, why_not
from host_plugins.resolve_host.steps import Step
from host_plugins.resolve_host.tiff_plate import PlateTiff


@dataclass(frozen=True)
class ClipPlate:
    """frames: one for each frame of the clip, in order, numbered as in its source. made: "graded",
    "ungraded" or "file": what it really is. notes: why that is not what was asked."""

    frames: tuple[PlateFile, ...]
    made: str
    notes: tuple[str, ...] = ()

    @property
    def suffix(self) -> str:
        return self.frames[0].path.suffix.lower()


def make_plate(
    host: ResolveHost,
    watch: Watch,
    clip: TimelineClip,
    *,
    wanted: str,
    folder: Path,
    kind: str,
) -> Generator[Step, None, ClipPlate]:
    """Yields progress, returns the plate. wanted: "graded", "ungraded" or "file".
    kind: of rendered files, "tif" or "exr".

    A file that cannot be read for the timeline's frames is rendered without its grade instead.
    Raises BridgeError.
    """
    notes: list[str] = []
    made = wanted
    if wanted == "file":
        reasons = why_not(host, watch.timeline, clip)
        if reasons:
            made = "ungraded"
            notes.append(f"Rendered instead of reading the file of {clip.name}: "
                         + "; ".join(reasons))  # fmt: skip
    if made == "file":
        files = yield from read_source(clip, folder)
    elif made == "ungraded":
        files = yield from _render_ungraded(host, watch, clip, folder, kind, notes)
    else:
        order = _order(host, watch.timeline, clip.range, folder, kind, track=clip.track)
        files = yield from render(host, order, notes=notes)
    frames = tuple(
        PlateTiff(clip.first_index + place, path) if path.suffix.lower().startswith(".tif")
        else PlateFile(clip.first_index + place, path)
        for place, path in enumerate(files)
    )  # fmt: skip
    return ClipPlate(frames, made, tuple(notes))


def render_one(
    host: ResolveHost, watch: Watch, clip: TimelineClip, frame: int, folder: Path,
    kind: str,
) -> Generator[Step, None, Path]:  # fmt: skip
    """One absolute timeline frame through the render queue: the true pixels."""
    order = _order(host, watch.timeline, Range(frame, frame), folder, kind, track=clip.track)
    files = yield from render(host, order, notes=[])
    return files[0]


def _order(
    host: ResolveHost, timeline: Any, frames: Range, folder: Path, kind: str,
    *, track: int,
) -> RenderOrder:  # fmt: skip
    height, width = host.size(timeline)
    return RenderOrder(
        timeline, frames, folder, height, width, host.rate(timeline).number,
        kind=kind, track=track,
    )  # fmt: skip


def _render_ungraded(
    host: ResolveHost, watch: Watch, clip: TimelineClip, folder: Path, kind: str,
    notes: list[str],
) -> Generator[Step, None, list[Path]]:  # fmt: skip
    """Grades cannot be bypassed by a script: a timeline of its own holds the bare clip."""
    project, pool = watch.project, host.pool()
    restorer = Restorer(host)
    try:
        with restorer:
            restorer.page()
            restorer.current_timeline(project)
            timeline = _bare_timeline(host, pool, clip)
            restorer.later(
                "the list of timelines",
                lambda: host.calls.must(pool, "DeleteTimelines", [timeline]),
            )
            # before the deletion, since the current timeline must not be the one that goes
            restorer.current_timeline_is(project, watch.timeline)
            _same_size(host, timeline, clip, notes)
            item = items(host.calls, timeline, 1)[0]
            start = round(host.calls.must(item, "GetStart"))
            span = Range(start, start + clip.range.count - 1)
            order = _order(host, timeline, span, folder, kind, track=1)
            return (yield from render(host, order, notes=notes))
    finally:
        notes.extend(restorer.notes)


def _bare_timeline(host: ResolveHost, pool: Any, clip: TimelineClip) -> Any:
    """A timeline with just this stretch of the clip's media. Raises Refused."""
    calls, name, got = host.calls, f"{TEMPORARY} {clip.uid}", 0
    for inclusive, end in end_frames(host, clip.first_index, clip.range.count):
        info = {"mediaPoolItem": clip.media, "startFrame": clip.first_index, "endFrame": end}
        timeline = calls.must(
            pool, "CreateTimelineFromClips", name, [info], done=lambda: _named(host, name)
        )
        found = items(calls, timeline, 1)
        got = round(calls.get(found[0], "GetDuration", default=0)) if found else 0
        if got == clip.range.count:
            host.memory.end_inclusive = inclusive
            return timeline
        calls.must(pool, "DeleteTimelines", [timeline])
    raise Refused(
        "CreateTimelineFromClips",
        f"{clip.name} is {clip.range.count} frames on the timeline, its bare media gave {got}",
        hint="It is retimed or of another rate: choose plate 'graded'.",
    )


def _named(host: ResolveHost, name: str) -> Any:
    timeline = host.calls.ask(host.project(), "GetCurrentTimeline")
    return timeline if host.calls.get(timeline, "GetName") == name else None


def _same_size(host: ResolveHost, timeline: Any, clip: TimelineClip, notes: list[str]) -> None:
    """Give the bare timeline the media's own size, so that it is not scaled twice."""
    told = clip_property(host.calls, clip.media, "Resolution")
    width, _, height = told.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        return
    for name, value in (
        ("useCustomSettings", "1"),
        ("timelineResolutionWidth", width),
        ("timelineResolutionHeight", height),
    ):
        if not host.calls.get(timeline, "SetSetting", name, value):
            notes.append("The ungraded plate has the timeline's size, not the clip's")
            return
