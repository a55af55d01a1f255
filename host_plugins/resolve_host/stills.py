"""Exemplar pictures out of Resolve: the frame at the playhead, a graded frame, gallery stills."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from host_plugins.resolve_host.calls import Refused
from host_plugins.resolve_host.clips import TimelineClip
from host_plugins.resolve_host.host import ResolveHost, Watch
from host_plugins.resolve_host.restore import Restorer
from host_plugins.wire.errors import BridgeError

#: the viewer shows the frame before until about a second after the playhead moved
SETTLE_S = 1.5
GALLERY_HINT = (
    "Open the Gallery panel on the Color page, or drag the still to a folder by hand and give that "
    "file; without windows Resolve never exports stills."
)


def export_frame(
    host: ResolveHost, watch: Watch, clip: TimelineClip, frame: int, path: Path, notes: list[str]
) -> Path:
    """Write one absolute frame of a clip as a still; the path's ending chooses the format.

    Fast, and good for exemplars and previews. On the Color page it shows the topmost clip with its
    grade. Page, timeline and playhead are put back. Raises Refused.
    """
    calls, timeline = host.calls, watch.timeline
    if frame not in clip.range:
        raise BridgeError(
            "frame_missing",
            f"expected a frame of {clip.name}, {clip.range.first} to {clip.range.last}, "
            f"got {frame}",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    restorer = Restorer(host)
    with restorer:
        restorer.page()
        before = watch.make_current()
        if before is not None:
            restorer.later(
                "the current timeline",
                lambda: calls.must(watch.project, "SetCurrentTimeline", before),
            )
        restorer.playhead(timeline)
        host.open_page("color")
        timecode = host.rate(timeline).timecode(frame)
        calls.must(
            timeline,
            "SetCurrentTimecode",
            timecode,
            done=lambda: calls.ask(timeline, "GetCurrentTimecode") == timecode,
        )
        calls.sleep(SETTLE_S)
        calls.must(
            watch.project,
            "ExportCurrentFrameAsStill",
            str(path),
            done=lambda: path.is_file() and path.stat().st_size > 0,
            hint="Open the Color page, check that the clip is online, and try again.",
        )
    notes.extend(restorer.notes)
    if not path.is_file() or not path.stat().st_size:
        raise Refused("ExportCurrentFrameAsStill", f"Resolve wrote no still to {path}")
    return path


def export_gallery(host: ResolveHost, folder: Path) -> list[Path]:
    """Export the stills of the current album as TIFF, where Resolve lets it. Raises Refused."""
    calls = host.calls
    gallery = calls.must(host.project(), "GetGallery")
    album: Any = calls.must(gallery, "GetCurrentStillAlbum", hint=GALLERY_HINT)
    stills = calls.must(album, "GetStills", hint="Grab a still on the Color page first.")
    folder.mkdir(parents=True, exist_ok=True)

    def written() -> list[Path]:
        return sorted(folder.glob("still*.tif*"))

    calls.must(album, "ExportStills", stills, str(folder), "still", "tif", done=written,
               hint=GALLERY_HINT)  # fmt: skip
    if not written():
        raise Refused("ExportStills", f"Resolve wrote no still to {folder}", hint=GALLERY_HINT)
    return written()
