"""Frames out of Resolve: its render queue writes a range of one track as EXR or TIFF files.

This is the only way pixels leave: what arrives has gone through grade and output transform. Runs as
a generator, so that a window's timer or a terminal's loop can drive it; closing it cancels.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from host_plugins.resolve_host.calls import Refused, filled
from host_plugins.resolve_host.clips import track_count
from host_plugins.resolve_host.frames import Range
from host_plugins.resolve_host.host import ResolveHost
from host_plugins.resolve_host.labels import PRESETS
from host_plugins.resolve_host.restore import Restorer
from host_plugins.resolve_host.steps import Step
from host_plugins.wire.errors import BridgeError

POLL_S = 0.5
#: how long a job may sit at 100 percent "Rendering" after its last file has come
PATIENCE_S = 120.0
SILENCE_S = 30.0
#: what a codec id must contain; ids do not drift between versions, their descriptions do
CODEC_WORD = {"exr": "Half", "tif": "RGB16"}
MAGIC = {"exr": (b"\x76\x2f\x31\x01",), "tif": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")}
SINGLE_CLIP = 1
_NUMBER = re.compile(r"(\d+)\.\w+$")


@dataclass(frozen=True)
class RenderOrder:
    """range: absolute frames. track: rendered alone, None for all. kind: "exr" (half float) or
    "tif" (16 bits). height, width: of the files. folder: empty, and only for this render."""

    timeline: Any
    range: Range
    folder: Path
    height: int
    width: int
    rate: float
    kind: str = "exr"
    track: Optional[int] = None
    name: str = "plate."


def render(
    host: ResolveHost, order: RenderOrder, *, notes: list[str]
) -> Generator[Step, None, list[Path]]:
    """Yields progress, returns the files in the order of their frames.

    Everything that it changes in Resolve is put back, also when it is closed early; what could not
    be is added to `notes`. Raises Refused, HostLost, BridgeError frame_missing.
    """
    project = host.project()
    order.folder.mkdir(parents=True, exist_ok=True)
    restorer = Restorer(host)
    try:
        with restorer:
            restorer.page()
            restorer.current_timeline(project)
            host.calls.must(project, "SetCurrentTimeline", order.timeline)
            if order.track is not None:
                restorer.solo(order.timeline, order.track, track_count(host.calls, order.timeline))
            restorer.marks(order.timeline)
            host.open_page("deliver")
            restorer.deliver(project)
            _pin_settings(host, project, order)
            yield from _run_job(host, project, order)
    finally:
        notes.extend(restorer.notes)
    return rendered_files(order)


def rendered_files(order: RenderOrder) -> list[Path]:
    """The files of a render, sub-folders included, counted and looked at.

    What Resolve says of a job is no witness of its files. Raises BridgeError frame_missing,
    clip_unreadable.
    """
    found = [
        path
        for path in order.folder.rglob(f"*.{order.kind}*")
        if _NUMBER.search(path.name) and path.stat().st_size
    ]
    if len(found) != order.range.count:
        others = sorted({path.suffix for path in order.folder.rglob("*") if path.is_file()})
        raise BridgeError(
            "frame_missing",
            f"Resolve said it rendered {order.range.count} {order.kind} files, {len(found)} came"
            + (f" (among {', '.join(others)})" if others else ""),
            hint="Look at the Deliver page: video export on, no 'individual clips', disk not full.",
        )
    found.sort(key=_frame_number)
    with found[0].open("rb") as file:
        if not file.read(4).startswith(MAGIC[order.kind]):
            raise BridgeError("clip_unreadable", f"{found[0].name} is no {order.kind} file")
    return found


def choose_codec(host: ResolveHost, project: Any, kind: str) -> str:
    """The id of the half-float or 16-bit codec of this Resolve. Raises Refused."""
    codecs = host.calls.must(project, "GetRenderCodecs", kind)
    fitting = [str(c) for c in codecs.values() if CODEC_WORD[kind] in str(c)]
    lossless = [codec for codec in fitting if "DWA" not in codec.upper()]
    if not lossless:
        raise Refused(
            "GetRenderCodecs",
            f"Resolve offers no {CODEC_WORD[kind]} codec for {kind}: {', '.join(codecs.values())}",
            hint="Choose the other plate format.",
        )
    return lossless[0]


def _pin_settings(host: ResolveHost, project: Any, order: RenderOrder) -> None:
    """Our preset first: settings go on top of whatever the Deliver page holds, unseen."""
    calls = host.calls
    _load_base(host, project, order.kind)
    calls.must(
        project,
        "SetCurrentRenderFormatAndCodec",
        order.kind,
        choose_codec(host, project, order.kind),
    )
    calls.must(
        project,
        "SetCurrentRenderMode",
        SINGLE_CLIP,
        done=lambda: calls.ask(project, "GetCurrentRenderMode") == SINGLE_CLIP,
    )
    calls.must(
        project,
        "SetRenderSettings",
        {
            "SelectAllFrames": False,
            "MarkIn": order.range.first,
            "MarkOut": order.range.last,
            "TargetDir": str(order.folder),
            "CustomName": order.name,
            "ExportVideo": True,
            "ExportAudio": False,
            "FormatWidth": order.width,
            "FormatHeight": order.height,
            "FrameRate": order.rate,
        },
    )


def _load_base(host: ResolveHost, project: Any, kind: str) -> None:
    """Load our preset, importing it first; a stock one with video where that is refused."""
    calls, name = host.calls, PRESETS[kind]
    if name not in _presets(host, project):
        path = Path(__file__).with_name("presets") / f"{name}.xml"
        calls.get(host.resolve, "ImportRenderPreset", str(path))
    known = _presets(host, project)
    stock = [p for p in known if "H.264" in p or "ProRes" in p]
    for preset in ([name] if name in known else []) + stock:
        if filled(calls.get(project, "LoadRenderPreset", preset)):
            return
    raise Refused(
        "LoadRenderPreset",
        "No render preset with video could be loaded as a base",
        hint=f"Import {name}.xml on the Deliver page, from ChromaBridge's presets folder.",
    )


def _presets(host: ResolveHost, project: Any) -> list[str]:
    return [str(name) for name in host.calls.get(project, "GetRenderPresetList", default=[])]


def _run_job(host: ResolveHost, project: Any, order: RenderOrder) -> Generator[Step, None, None]:
    calls = host.calls
    before = _job_ids(host, project)
    job = str(
        calls.must(
            project,
            "AddRenderJob",
            done=lambda: next(iter(_job_ids(host, project) - before), None),
            hint="Look at the Deliver page: the range must lie on the timeline.",
        )
    )
    started = False
    try:
        calls.must(
            project,
            "StartRendering",
            [job],
            False,
            done=lambda: calls.ask(project, "IsRenderingInProgress"),
        )
        started = True
        yield from _wait(host, project, job, order)
        started = False
    finally:
        if started:
            calls.get(project, "StopRendering")
        calls.get(project, "DeleteRenderJob", job)


def _wait(
    host: ResolveHost, project: Any, job: str, order: RenderOrder
) -> Generator[Step, None, None]:
    """Until the job says Complete, or all files lie there and Resolve renders no more."""
    calls, count = host.calls, order.range.count
    full_since: Optional[float] = None
    heard = calls.now()
    while True:
        status = calls.ask(project, "GetRenderJobStatus", job) or {}
        state = str(status.get("JobStatus", ""))
        percent = float(status.get("CompletionPercentage", 0))
        heard = calls.now() if status else heard
        if state == "Complete":
            return
        if state in ("Failed", "Cancelled"):
            why = status.get("Error") or "no reason was given"
            raise Refused(
                "StartRendering",
                f"The render {state.lower()} at {percent:.0f} percent: {why}",
                hint="Render the same range by hand on the Deliver page to see what is wrong.",
            )
        if calls.now() - heard > SILENCE_S:
            calls.check_alive()
            raise Refused("GetRenderJobStatus", "Resolve does not tell how the render is going")
        if percent >= 100:
            full_since = full_since if full_since is not None else calls.now()
            idle = calls.ask(project, "IsRenderingInProgress") is False
            if idle or calls.now() - full_since > PATIENCE_S:
                return  # the files are counted next
        yield Step("plate", min(count, round(count * percent / 100)), count, pause_s=POLL_S)


def _job_ids(host: ResolveHost, project: Any) -> set[str]:
    return {
        str(job["JobId"])
        for job in host.calls.get(project, "GetRenderJobList", default=[])
        if isinstance(job, dict) and job.get("JobId")
    }


def _frame_number(path: Path) -> int:
    found = _NUMBER.search(path.name)
    return int(found.group(1)) if found else 0
