"""Clips of the timeline in color: plate, server, result back on the timeline, one after the other.

A run is a generator: each `next` does a little and returns how far it is. Resolve is called from
the thread that drives it and no other; closing it cancels and puts everything back.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from host_plugins.host_layer import Job, JobSpec, Panel, Pins, Service
from host_plugins.host_layer.messages import explain
from host_plugins.host_layer.progress import in_words
from host_plugins.launch import server_command
from host_plugins.resolve_host.bring_in import ResultFiles, import_result
from host_plugins.resolve_host.calls import HostChanged, HostLost
from host_plugins.resolve_host.clips import TimelineClip, choose_clips, read_again
from host_plugins.resolve_host.color_space import ProjectColor, read_color
from host_plugins.resolve_host.host import ResolveHost, Watch
from host_plugins.resolve_host.labels import RESULT_COLOR
from host_plugins.resolve_host.markers import pins_of, read_record, write_record
from host_plugins.resolve_host.options import Options
from host_plugins.resolve_host.place import (
    copy_look,
    find_result,
    place_as_loader,
    place_as_take,
    place_on_track,
)
from host_plugins.resolve_host.plate import ClipPlate, make_plate
from host_plugins.resolve_host.properties import clip_property
from host_plugins.resolve_host.source_file import run_command
from host_plugins.resolve_host.steps import Step, waiting
from host_plugins.wire.errors import BridgeError

POLL_S = 0.2


@dataclass(frozen=True)
class Outcome:
    """What became of one clip. what: "placed", "unchanged", "failed" or "cancelled". text: why, in
    words. notes: what the user should know or do. report: the page of the record, if any."""

    name: str
    what: str
    text: str = ""
    notes: tuple[str, ...] = ()
    report: Optional[Path] = None

    @property
    def sentence(self) -> str:
        told = f"{self.name}: {self.what}"
        return f"{told}. {self.text}" if self.text else told


@dataclass
class Run:
    """One run. outcomes grows while it goes on; it is complete when the generator ends."""

    host: ResolveHost
    service: Service
    options: Options
    outcomes: list[Outcome]
    notes: list[str]

    @classmethod
    def new(cls, host: ResolveHost, service: Service, options: Options) -> Run:
        """Raises BridgeError bad_param."""
        options.check()
        return cls(host, service, options, [], [])

    def steps(self) -> Generator[Step, None, None]:
        """Do it. A clip that fails does not stop the others; Resolve going away does.

        Raises BridgeError: host_nothing, host_lost, host_changed, ...
        """
        watch = Watch(self.host)
        clips, left_out = choose_clips(self.host, watch.timeline, self.options.clips)
        self.notes.extend(left_out)
        effect = self.options.effect
        if not effect:
            effect = self._default((yield from waiting(self.service.effects(start=True))))
        panel = yield from waiting(self.service.panel(effect, start=True))
        color = read_color(self.host, watch.project)
        for number, clip in enumerate(clips, 1):
            work = _ClipRun(self, watch, clip, panel, color)
            try:
                for step in work.steps():
                    yield step.of_clip(number, len(clips), clip.name)
                self.outcomes.append(work.outcome)
            except (HostLost, HostChanged) as problem:
                self.outcomes.append(Outcome(clip.name, "failed", str(explain(problem))))
                raise
            except BridgeError as problem:
                words = str(explain(problem))
                self.outcomes.append(Outcome(clip.name, "failed", words, tuple(work.notes)))
            except GeneratorExit:
                text = "Finished frames are kept: run again to go on."
                self.outcomes.append(Outcome(clip.name, "cancelled", text, tuple(work.notes)))
                raise
        yield Step("done", 0, 0, clip=len(clips), clips=len(clips))

    def _default(self, effects: tuple[str, ...]) -> str:
        wanted = self.service.settings.effect
        if wanted in effects:
            return wanted
        if not effects:
            raise BridgeError("unknown_effect", "the server offers no effect")
        return effects[0]


class _ClipRun:
    """One clip of a run."""

    def __init__(
        self, run: Run, watch: Watch, clip: TimelineClip, panel: Panel, color: ProjectColor
    ) -> None:
        self._run = run
        self._host = run.host
        self._watch = watch
        self._clip = clip
        self._panel = panel
        self._effect = panel.effect
        self._color = color
        self.notes: list[str] = []
        self.outcome = Outcome(clip.name, "failed")

    def steps(self) -> Generator[Step, None, None]:
        """Raises BridgeError."""
        options, clip = self._run.options, self._clip
        pins = Pins((*pins_of(self._host.calls, clip), *options.exemplars))
        pins.pictures()  # before anything is rendered: are there any, can they be read
        kind = options.plate_format
        scratch = Path(tempfile.mkdtemp(prefix="plate-", dir=self._scratch_root()))
        try:
            plate = yield from make_plate(
                self._host, self._watch, clip, wanted=options.plate, folder=scratch,
                kind=kind if kind != "auto" else self._color.plate_kind,
            )  # fmt: skip
            self.notes.extend(plate.notes)
            spec = self._spec(plate, pins)
            key = _key(spec, plate, options)
            spec = replace(spec, folder=spec.folder / key[:12])
            files = self._files(spec)
            yield Step("color", 0, clip.range.count)
            if self._unchanged(key, files):
                self.outcome = Outcome(clip.name, "unchanged", notes=tuple(self.notes))
                return
            report = yield from self._color_frames(spec, plate)
            if files.movie:
                yield from self._make_movie(spec, files)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        yield Step("import", 0, 0)
        self._bring_back(files, key, report, plate)
        self.outcome = Outcome(
            clip.name, "placed", str(files.first_file.parent), tuple(self.notes), report
        )

    def _scratch_root(self) -> Path:
        root = self._run.service.settings.cache_root / "plates"
        root.mkdir(parents=True, exist_ok=True)
        return root

    def _spec(self, plate: ClipPlate, pins: Pins) -> JobSpec:
        options, clip = self._run.options, self._clip
        encoding = options.result
        if encoding in ("auto", "movie"):
            encoding = "exr" if plate.suffix == ".exr" else "tiff"
        name = _plain(clip.name)
        project = str(self._host.calls.must(self._watch.project, "GetName"))
        return JobSpec(
            effect=self._effect,
            values=self._values(plate),
            pins=tuple(pins),
            folder=options.root / _plain(project) / f"{name}_{_plain(clip.uid)[-8:]}",
            encoding=encoding,
            total=clip.range.count,
            name=f"{name}_colorized",
            facts={
                "host": self._host.edition.label,
                "clip": clip.name,
                "timeline frames": [clip.range.first, clip.range.last],
                "source frames": [clip.first_index, clip.last_index],
                "plate": plate.made,
                "plate encoding": self._color.encoding,
            },
        )

    def _values(self, plate: ClipPlate) -> dict[str, Any]:
        """What the user asked, and the color space that Resolve rendered into."""
        values: dict[str, Any] = {}
        for name, value in self._run.options.values.items():
            if self._panel.control(name) is None:
                self.notes.append(f"Left out {name}: the effect {self._effect} has no such setting")
            else:
                values[name] = value
        rendered = plate.made != "file"
        if rendered and self._panel.control("input_space") is not None:
            values.setdefault("input_space", self._color.server_space(plate.suffix))
        return values

    def _files(self, spec: JobSpec) -> ResultFiles:
        first, last = self._clip.first_index, self._clip.last_index
        if self._run.options.result == "movie":
            return ResultFiles((spec.folder / f"{spec.name}.mov").as_posix(), first, last)
        return ResultFiles(spec.pattern, first, last)

    def _unchanged(self, key: str, files: ResultFiles) -> bool:
        """The result of exactly this lies on the timeline where it belongs."""
        calls = self._host.calls
        if self._run.options.place == "track":
            found = find_result(self._host, self._watch.timeline, self._clip.uid)
            if found is None or calls.ask(found[1], "GetStart") != self._clip.range.first:
                return False
            record = read_record(calls, found[1])
        else:
            record = read_record(calls, self._clip.item)
        return record is not None and record.get("key") == key and files.first_file.is_file()

    def _color_frames(
        self, spec: JobSpec, plate: ClipPlate
    ) -> Generator[Step, None, Optional[Path]]:
        job = self._run.service.start(spec, plate.frames)
        ended = False
        try:
            while True:
                state = job.poll()
                if state.ended:
                    ended = True
                    break
                note = state.note or (f"{in_words(state.eta_s)} left" if state.eta_s else "")
                yield Step("color", state.done, state.total, note, pause_s=POLL_S)
        finally:
            if not ended:
                _stop(job)
        if state.message is not None:
            raise BridgeError(
                state.message.code or "internal", state.message.title, hint=state.message.text
            )
        if state.stage != "done" or state.done != self._clip.range.count:
            raise BridgeError(
                "frame_missing",
                f"expected {self._clip.range.count} colored frames, got {state.done}",
            )
        yield Step("color", state.done, state.total)
        return state.report

    def _make_movie(self, spec: JobSpec, files: ResultFiles) -> Generator[Step, None, None]:
        rate = self._host.rate(self._watch.timeline)
        command = [
            *server_command(), "resolve", "movie", spec.pattern, files.pattern,
            "--first", str(files.first), "--last", str(files.last), "--fps", str(rate.exact),
        ]  # fmt: skip
        yield from run_command(command, lambda: Step("import", 0, 0, "encoding"))

    def _bring_back(
        self, files: ResultFiles, key: str, report: Optional[Path], plate: ClipPlate
    ) -> None:
        """Into the bin and onto the timeline as it is now."""
        host, place = self._host, self._run.options.place
        self._watch.check()
        clip = read_again(host, self._watch.timeline, self._clip)
        rate = host.rate(self._watch.timeline)
        media = import_result(host, files, rate=rate, color=self._color, notes=self.notes)
        record = {
            "clip": clip.uid,
            "key": key,
            "effect": self._effect,
            "media": clip_property(host.calls, media, "File Path"),
            "record": str(report or ""),
            "when": time.strftime("%Y-%m-%d %H:%M"),
        }
        if place == "track":
            item = place_on_track(host, self._watch, clip, media, self.notes)
            if plate.made != "graded":
                copy_look(host, clip, item, self.notes)
            if not host.calls.get(item, "SetClipColor", RESULT_COLOR):
                self.notes.append("The result has no clip color: Resolve refused SetClipColor")
            write_record(host.calls, item, record)
            return
        if place == "take":
            place_as_take(host, clip, media, files)
        else:
            place_as_loader(host, clip, files)
        write_record(host.calls, clip.item, record, key=clip.first_index)


def _stop(job: Job) -> None:
    """Cancel and wait a moment: the frame that is being computed may still arrive."""
    job.cancel()
    with suppress(BridgeError):
        job.wait(5.0)


def _key(spec: JobSpec, plate: ClipPlate, options: Options) -> str:
    """The same for the same plate, effect, values, exemplars and delivery."""
    name = hashlib.blake2b(digest_size=32)
    name.update(f"{spec.key}|{spec.encoding}|{options.result}|{options.place}".encode())
    for frame in plate.frames:
        name.update(frame.index.to_bytes(8, "big", signed=True) + frame.digest())
    return name.hexdigest()


def _plain(name: Any) -> str:
    """A name for files: no path characters, no % and # which stand for frame numbers."""
    return re.sub(r"[^\w.-]+", "_", str(name)).strip("._")[:60] or "clip"
