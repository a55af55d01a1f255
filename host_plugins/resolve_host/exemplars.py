"""Pinning an exemplar to the frame at the playhead, from wherever its colors come."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from pathlib import Path

from host_plugins.host_layer import Pin
from host_plugins.resolve_host.clips import TimelineClip, choose_clips
from host_plugins.resolve_host.color_space import read_color
from host_plugins.resolve_host.host import ResolveHost, Watch
from host_plugins.resolve_host.markers import PinMarker, pin_exemplar
from host_plugins.resolve_host.plate import render_one
from host_plugins.resolve_host.steps import Step
from host_plugins.resolve_host.stills import export_frame, export_gallery
from host_plugins.wire.errors import BridgeError

#: how -> label. "still" is quick; "render" has the true pixels; "gallery" needs its panel open.
SOURCES = {
    "file": "Picture file...",
    "still": "This frame as graded, quick",
    "render": "This frame as graded, rendered",
    "gallery": "Last still of the gallery album",
}


def add_exemplar(
    host: ResolveHost, folder: Path, how: str, *, path: str = "", notes: list[str]
) -> Generator[Step, None, PinMarker]:
    """Pin an exemplar to the clip and frame at the playhead; returns its marker.

    folder: where pictures out of Resolve are kept. how: a key of SOURCES. path: the file of "file".
    Raises BridgeError.
    """
    watch = Watch(host)
    clip = choose_clips(host, watch.timeline, "playhead")[0][0]
    frame = playhead(host, watch)
    kept = folder / f"{clip.uid}.{clip.index_at(frame):06d}"
    yield Step("plate", 0, 1)
    if how == "file":
        picture = Path(path)
        Pin(path).picture()  # can it be read
    elif how == "still":
        name = kept.with_name(f"{kept.name}.png")
        picture = export_frame(host, watch, clip, frame, name, notes)
    elif how == "render":
        picture = yield from _rendered(host, watch, clip, frame, kept)
    elif how == "gallery":
        picture = export_gallery(host, kept)[-1]
    else:
        raise BridgeError("bad_param", f"expected {', '.join(SOURCES)}, got {how!r}")
    return pin_exemplar(host.calls, clip, Pin(str(picture), clip.index_at(frame)))


def playhead(host: ResolveHost, watch: Watch) -> int:
    """The absolute frame at the playhead."""
    timecode = host.calls.must(watch.timeline, "GetCurrentTimecode")
    return host.rate(watch.timeline).frame(str(timecode))


def _rendered(
    host: ResolveHost, watch: Watch, clip: TimelineClip, frame: int, kept: Path
) -> Generator[Step, None, Path]:
    scratch = kept.with_name(f"{kept.name}.render")
    kind = read_color(host, watch.project).plate_kind
    try:
        made = yield from render_one(host, watch, clip, frame, scratch, kind)
        picture = kept.with_name(f"{kept.name}{made.suffix}")
        shutil.move(str(made), str(picture))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return picture
