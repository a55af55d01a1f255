"""Removing what runs leave: always what a killed one forgot, on request results and exemplars."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from host_plugins.resolve_host.clips import is_ours, items, track_count
from host_plugins.resolve_host.host import ResolveHost, Watch
from host_plugins.resolve_host.labels import TEMPORARY
from host_plugins.resolve_host.markers import read_record, remove_all
from host_plugins.resolve_host.restore import Restorer
from host_plugins.wire.errors import BridgeError


@dataclass
class Cleaned:
    """How many of each were removed."""

    timelines: int = 0
    presets: int = 0
    render_jobs: int = 0
    plate_folders: int = 0
    results: int = 0
    markers: int = 0

    @property
    def sentence(self) -> str:
        told = [f"{count} {name.replace('_', ' ')}" for name, count in vars(self).items() if count]
        return f"Removed {', '.join(told)}." if told else "There was nothing to remove."


def clean(
    host: ResolveHost, *, scratch: Path, results: bool = False, pins: bool = False
) -> Cleaned:
    """Remove temporary timelines, presets, render jobs and plates of runs that were killed.

    scratch: where plates lie. results: also our items and emptied tracks on the current timeline,
    with their records; files and the bin stay. pins: also the exemplar markers. Raises BridgeError.
    """
    done = Cleaned()
    watch = Watch(host)
    _timelines(host, watch, done)
    _presets_and_jobs(host, watch, scratch, done)
    for folder in scratch.glob("plate-*"):
        with suppress(OSError):
            shutil.rmtree(folder)
            done.plate_folders += 1
    if results or pins:
        restorer = Restorer(host)
        with restorer:
            restorer.page()
            host.refresh()
            _items(host, watch, done, results=results, pins=pins)
    return done


def _timelines(host: ResolveHost, watch: Watch, done: Cleaned) -> None:
    calls = host.calls
    count = int(calls.get(watch.project, "GetTimelineCount", default=0))
    found = [calls.ask(watch.project, "GetTimelineByIndex", n) for n in range(1, count + 1)]
    left = [t for t in found if str(calls.get(t, "GetName", default="")).startswith(TEMPORARY)]
    if str(calls.get(watch.timeline, "GetName", default="")).startswith(TEMPORARY):
        raise BridgeError(
            "host_nothing",
            "The current timeline is a temporary one of ours",
            hint="Open your own timeline in Resolve, then clean again.",
        )
    if left:
        calls.must(host.pool(), "DeleteTimelines", left)
        done.timelines = len(left)


def _presets_and_jobs(host: ResolveHost, watch: Watch, scratch: Path, done: Cleaned) -> None:
    calls, project = host.calls, watch.project
    for name in calls.get(project, "GetRenderPresetList", default=[]):
        if str(name).startswith(TEMPORARY) and calls.has(project, "DeleteRenderPreset"):
            calls.must(project, "DeleteRenderPreset", str(name))
            done.presets += 1
    for job in calls.get(project, "GetRenderJobList", default=[]):
        folder = str(job.get("TargetDir", "")) if isinstance(job, dict) else ""
        if folder and scratch in Path(folder).parents:
            calls.must(project, "DeleteRenderJob", str(job["JobId"]))
            done.render_jobs += 1


def _items(host: ResolveHost, watch: Watch, done: Cleaned, *, results: bool, pins: bool) -> None:
    calls, timeline = host.calls, watch.timeline
    for track in range(track_count(calls, timeline), 0, -1):
        here = items(calls, timeline, track)
        if is_ours(calls, timeline, track):
            ours = [item for item in here if read_record(calls, item) is not None]
            if results and ours:
                calls.must(timeline, "DeleteClips", ours, False)
                done.results += len(ours)
            if results and len(ours) == len(here):
                calls.must(timeline, "DeleteTrack", "video", track)
        elif pins:
            done.markers += sum(remove_all(calls, item) for item in here)
