"""The acceptance steps of docs/resolve_acceptance.md, done by themselves in a scratch project.

What this Resolve really does is written into a report; the project that was open comes back last.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from host_plugins.host_layer import Pin, Service
from host_plugins.host_layer.messages import explain
from host_plugins.host_layer.record import write_record
from host_plugins.resolve_host import sample_clip
from host_plugins.resolve_host.bring_in import ResultFiles, import_result
from host_plugins.resolve_host.calls import Refused, filled
from host_plugins.resolve_host.clips import TimelineClip, choose_clips
from host_plugins.resolve_host.color_space import read_color
from host_plugins.resolve_host.colorize import Run
from host_plugins.resolve_host.frames import Range
from host_plugins.resolve_host.host import UNTITLED, ResolveHost, Watch
from host_plugins.resolve_host.labels import TRACK_NAME
from host_plugins.resolve_host.markers import pin_exemplar, read_pins
from host_plugins.resolve_host.options import Options
from host_plugins.resolve_host.place import append, find_result
from host_plugins.resolve_host.render import RenderOrder, render
from host_plugins.resolve_host.steps import Step, drive
from host_plugins.resolve_host.stills import export_frame, export_gallery
from host_plugins.wire.errors import BridgeError

FIRST, COUNT, AT = 4, 12, 10  # media frame, length, place on the timeline


@dataclass(frozen=True)
class Check:
    """One step. ok: None for a fact that is only noted."""

    title: str
    ok: Optional[bool]
    found: str


@dataclass
class SelfTest:
    """checks grow while `steps` runs; report is written after each, so that a crash loses none."""

    host: ResolveHost
    service: Service
    folder: Path
    checks: list[Check] = field(default_factory=list)
    report: Optional[Path] = None

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.ok is not False for check in self.checks)

    def steps(self) -> Generator[Step, None, None]:
        """Raises BridgeError host_nothing when the open project is not saved, HostLost."""
        calls, host = self.host.calls, self.host
        before = str(calls.must(host.project(), "GetName"))
        if before == UNTITLED and int(calls.get(host.project(), "GetTimelineCount", default=0)):
            raise BridgeError(
                "host_nothing",
                "The open project was never saved",
                hint="Save it under a name: the self-test works in a project of its own.",
            )
        host.save()
        manager = calls.must(host.resolve, "GetProjectManager")
        name = f"ChromaBridge self-test {time.strftime('%Y%m%d-%H%M%S')}"
        calls.must(manager, "CreateProject", name, done=lambda: self._is_open(name))
        self._note("Resolve", host.edition.label)
        try:
            yield from self._in_scratch_project()
        finally:
            if before != UNTITLED:
                calls.must(manager, "LoadProject", before, done=lambda: self._is_open(before))
                calls.get(manager, "DeleteProject", name)

    def _in_scratch_project(self) -> Generator[Step, None, None]:
        watch, clip = self._timeline()
        work: list[Callable[[], Any]] = [
            lambda: self._pins(clip),
            lambda: self._still(watch, clip),
            lambda: self._render(watch, clip, "tif"),
            lambda: self._render(watch, clip, "exr"),
            lambda: self._colorize(watch, clip),
            lambda: self._again(),
            lambda: self._export(watch, clip),
            lambda: self._take(clip),
            lambda: self._loader(clip),
            lambda: self._gallery(),
            lambda: self._markers(clip),
        ]
        for number, step in enumerate(work, 1):
            yield Step("color", number, len(work), "self-test")
            try:
                step()
            except BridgeError as problem:
                self._say(f"step {number}", False, str(explain(problem)))

    # --- the steps ---

    def _timeline(self) -> tuple[Watch, TimelineClip]:
        """A clip of 24 frames, from its fifth frame on, ten frames into a new timeline."""
        host, calls = self.host, self.host.calls
        files = sample_clip.write_clip(self.folder / "clip")
        pool = host.pool()
        timeline = calls.must(pool, "CreateEmptyTimeline", "Self-test")
        rate, notes = host.rate(timeline), list[str]()
        info = ResultFiles(str(files), 1, sample_clip.COUNT)
        media = import_result(host, info, rate=rate, color=read_color(host, host.project()),
                              notes=notes)  # fmt: skip
        self._say("Import a sequence, set its rate and read it back", True, "; ".join(notes))
        start = int(calls.must(timeline, "GetStartFrame"))
        append(host, timeline, media, first=FIRST, count=COUNT, track=1, at=start + AT)
        convention = "inclusive" if host.memory.end_inclusive else "exclusive"
        self._note("AppendToTimeline's endFrame is", convention)
        watch = Watch(host)
        clip = choose_clips(host, timeline, "track:1")[0][0]
        told = (clip.range.first - start, clip.range.count, clip.left)
        self._say("A trimmed clip reads back", told == (AT, COUNT, FIRST), str(told))
        low = calls.get(clip.item, "GetSourceStartFrame")
        self._note("GetSourceStartFrame (should be 4, may read 3)", str(low))
        return watch, clip

    def _pins(self, clip: TimelineClip) -> None:
        picture = sample_clip.write_exemplar(self.folder / "exemplar.png", FIRST + 2)
        pin_exemplar(self.host.calls, clip, Pin(str(picture), FIRST + 2))
        found = [marker.pin.frame for marker in read_pins(self.host.calls, clip)]
        self._say("Pin an exemplar and find it again", found == [FIRST + 2], str(found))

    def _still(self, watch: Watch, clip: TimelineClip) -> None:
        path = self.folder / "still.png"
        notes: list[str] = []
        export_frame(self.host, watch, clip, clip.range.first + 3, path, notes)
        self._say("Export the frame at the playhead as PNG", path.stat().st_size > 0,
                  "; ".join(notes))  # fmt: skip

    def _render(self, watch: Watch, clip: TimelineClip, kind: str) -> None:
        height, width = self.host.size(watch.timeline)
        span = Range(clip.range.first, clip.range.first + 4)
        rate = self.host.rate(watch.timeline).number
        notes: list[str] = []
        order = RenderOrder(
            watch.timeline, span, self.folder / f"render-{kind}", height, width, rate, kind, 1
        )
        files = drive(render(self.host, order, notes=notes), sleep=self.host.calls.sleep)
        self._say(f"Render five frames of track 1 as {kind}", len(files) == 5,
                  "; ".join([files[0].name, *notes]))  # fmt: skip

    def _options(self, **changes: Any) -> Options:
        return Options(clips="track:1", folder=str(self.folder / "results"), **changes)

    def _run(self, options: Options) -> Run:
        run = Run.new(self.host, self.service, options)
        drive(run.steps(), sleep=self.host.calls.sleep)
        return run

    def _colorize(self, watch: Watch, clip: TimelineClip) -> None:
        run = self._run(self._options())
        outcome = run.outcomes[0]
        self._say("Colorize the clip", outcome.what == "placed",
                  " ".join((outcome.sentence, *outcome.notes)))  # fmt: skip
        found = find_result(self.host, watch.timeline, clip.uid)
        calls = self.host.calls
        told = None
        if found is not None:
            told = (calls.ask(found[1], "GetStart"), calls.ask(found[1], "GetDuration"))
        self._say("The result lies over the clip, frame for frame",
                  told == (clip.range.first, clip.range.count), str(told))  # fmt: skip

    def _again(self) -> None:
        run = self._run(self._options())
        self._say("A second run changes nothing", run.outcomes[0].what == "unchanged",
                  run.outcomes[0].sentence)  # fmt: skip

    def _export(self, watch: Watch, clip: TimelineClip) -> None:
        """OpenTimelineIO, written by Resolve itself, is the witness of where the result lies."""
        resolve, path = self.host.resolve, self.folder / "timeline.otio"
        kind, sub = getattr(resolve, "EXPORT_OTIO", None), getattr(resolve, "EXPORT_NONE", None)
        if kind is None:
            self._note("Export as OpenTimelineIO", "not in this version")
            return
        self.host.calls.must(watch.timeline, "Export", str(path), kind, sub)
        told = _result_in_otio(json.loads(path.read_text(encoding="utf-8")))
        expected = (clip.range.first - self._start(watch), clip.range.count)
        self._say("OpenTimelineIO tells the same place", told == expected,
                  f"{told}, expected {expected}")  # fmt: skip

    def _start(self, watch: Watch) -> int:
        return int(self.host.calls.must(watch.timeline, "GetStartFrame"))

    def _take(self, clip: TimelineClip) -> None:
        run = self._run(self._options(plate="ungraded", place="take"))
        index = self.host.calls.ask(clip.item, "GetSelectedTakeIndex")
        self._say("The result as a take", run.outcomes[0].what == "placed" and index == 2,
                  f"{run.outcomes[0].sentence}; take {index}")  # fmt: skip

    def _loader(self, clip: TimelineClip) -> None:
        calls = self.host.calls
        if calls.get(clip.item, "GetTakesCount", default=0):
            calls.get(clip.item, "SelectTakeByIndex", 1)
        run = self._run(self._options(plate="ungraded", place="loader"))
        self._say("The result as a Fusion Loader", run.outcomes[0].what == "placed",
                  run.outcomes[0].sentence)  # fmt: skip

    def _gallery(self) -> None:
        try:
            found = f"{len(export_gallery(self.host, self.folder / 'gallery'))} files"
        except Refused as problem:
            found = f"refused {problem.call}, as expected without the Gallery panel"
        self._note("Export gallery stills", found)

    def _markers(self, clip: TimelineClip) -> None:
        keys = [repr(key) for key in self.host.calls.get(clip.item, "GetMarkers", default={})]
        self._note("Item marker frames come back as", ", ".join(keys))

    # --- the report ---

    def _is_open(self, name: str) -> bool:
        manager = self.host.calls.ask(self.host.resolve, "GetProjectManager")
        project = self.host.calls.ask(manager, "GetCurrentProject")
        return project is not None and self.host.calls.ask(project, "GetName") == name

    def _note(self, title: str, found: str) -> None:
        self._say(title, None, found)

    def _say(self, title: str, ok: Optional[bool], found: str) -> None:
        self.checks.append(Check(title, ok, found))
        words = {True: "passed", False: "FAILED", None: "noted"}
        self.report = write_record(
            self.folder,
            {
                "effect": "self-test",
                "outcome": "passed" if self.passed else "failed",
                **{
                    f"{number}. {check.title}": f"{words[check.ok]}: {check.found}".strip(": ")
                    for number, check in enumerate(self.checks, 1)
                },
            },
        )


def _result_in_otio(told: Any) -> Optional[tuple[int, int]]:
    """(frames before, frames) of the first clip on the track "Colorized"."""
    for track in told["tracks"]["children"]:
        if not str(track["name"]).startswith(TRACK_NAME):
            continue
        at = 0
        for child in track["children"]:
            length = round(child["source_range"]["duration"]["value"])
            if str(child["OTIO_SCHEMA"]).startswith("Clip") and filled(length):
                return at, length
            at += length
    return None
