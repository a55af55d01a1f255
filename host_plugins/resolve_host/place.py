"""A result onto the timeline, frame-exact: on a track above, as a take, or as a Fusion Loader.

The clip itself is never changed but by an added take or Loader, both of which the user can undo.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Optional

from host_plugins.resolve_host.bring_in import ResultFiles
from host_plugins.resolve_host.calls import Calls, Refused
from host_plugins.resolve_host.clips import TimelineClip, is_ours, items, track_count
from host_plugins.resolve_host.end_frame import end_frames
from host_plugins.resolve_host.host import ResolveHost, Watch
from host_plugins.resolve_host.labels import TRACK_NAME
from host_plugins.resolve_host.markers import read_record
from host_plugins.resolve_host.properties import clip_property
from host_plugins.resolve_host.restore import Restorer
from host_plugins.wire.errors import BridgeError

VIDEO_ONLY = 1


def find_result(host: ResolveHost, timeline: Any, clip_uid: str) -> Optional[tuple[int, Any]]:
    """(track, item) of our result for a clip, None when there is none on a track."""
    for track in range(1, track_count(host.calls, timeline) + 1):
        if is_ours(host.calls, timeline, track):
            for item in items(host.calls, timeline, track):
                record = read_record(host.calls, item)
                if record is not None and record.get("clip") == clip_uid:
                    return track, item
    return None


def place_on_track(
    host: ResolveHost, watch: Watch, clip: TimelineClip, media: Any, notes: list[str]
) -> Any:
    """Put the result over the clip on a track "Colorized" above it; returns the new item.

    An older result of the same clip gives way, and comes back when this fails. Raises Refused.
    """
    restorer = Restorer(host)
    with restorer:
        restorer.page()
        before = watch.make_current()  # appending acts on the current timeline only
        if before is not None:
            restorer.current_timeline_is(watch.project, before)
        host.refresh()
        old = find_result(host, watch.timeline, clip.uid)
        track = _free_track(host, watch.timeline, clip, old)
        back = _take_away(host, watch.timeline, old) if old is not None else None
        try:
            item = append(host, watch.timeline, media, first=0, count=clip.range.count,
                          track=track, at=clip.range.first)  # fmt: skip
            item = _keep(host, watch.timeline, item, track, clip, notes)
        except BridgeError:
            if back is not None:
                with suppress(BridgeError):
                    append(host, watch.timeline, **back)
            raise
    notes.extend(restorer.notes)
    return item


def append(
    host: ResolveHost, timeline: Any, media: Any, *, first: int, count: int, track: int, at: int
) -> Any:
    """Append media frames at an absolute frame of a track; returns the item of exactly `count`.

    Both readings of endFrame are tried, and the one that gives the right length is remembered.
    Raises Refused.
    """
    calls, pool, got = host.calls, host.pool(), None
    for inclusive, end in end_frames(host, first, count):
        info = {
            "mediaPoolItem": media,
            "startFrame": first,
            "endFrame": end,
            "trackIndex": track,
            "recordFrame": at,
            "mediaType": VIDEO_ONLY,
        }
        answer = calls.must(
            pool,
            "AppendToTimeline",
            [info],
            done=lambda: [item] if (item := item_at(calls, timeline, track, at)) else None,
            hint=f"Something may lie on video track {track} at that place.",
        )
        item = answer[0] or item_at(calls, timeline, track, at)
        got = calls.ask(item, "GetDuration")
        if got is not None and round(got) == count:
            host.memory.end_inclusive = inclusive
            return item
        calls.must(
            timeline,
            "DeleteClips",
            [item],
            False,
            done=lambda: item_at(calls, timeline, track, at) is None,
        )
        if got is None:
            break
    raise Refused(
        "AppendToTimeline",
        f"expected an item of {count} frames on the timeline, Resolve made "
        + ("one without a length" if got is None else f"one of {round(got)}"),
        hint="Check that the result in the bin ChromaBridge is online and of the timeline's rate.",
    )


def item_at(calls: Calls, timeline: Any, track: int, at: int) -> Any:
    """The item of a track that begins at an absolute frame, or None."""
    return next((i for i in items(calls, timeline, track) if calls.ask(i, "GetStart") == at), None)


def place_as_take(host: ResolveHost, clip: TimelineClip, media: Any, files: ResultFiles) -> None:
    """Add the result as a take of the clip and select it; our older take goes. Raises Refused."""
    calls, item = host.calls, clip.item
    for index in range(int(calls.get(item, "GetTakesCount", default=0)), 1, -1):
        take = calls.get(item, "GetTakeByIndex", index, default={})
        if _is_result(host, clip, take.get("mediaPoolItem")):
            calls.must(item, "DeleteTakeByIndex", index)
    count = int(calls.get(item, "GetTakesCount", default=0))

    def more() -> bool:
        return int(calls.get(item, "GetTakesCount", default=0)) > count

    calls.must(item, "AddTake", media, 0, files.count - 1, done=more)
    index = int(calls.must(item, "GetTakesCount"))
    calls.must(
        item,
        "SelectTakeByIndex",
        index,
        done=lambda: calls.ask(item, "GetSelectedTakeIndex") == index,
    )


def place_as_loader(host: ResolveHost, clip: TimelineClip, files: ResultFiles) -> None:
    """Put a Loader of the result into the clip's Fusion composition, in front of MediaOut1.

    MediaIn1 stays beside it for masks and merges. Never between Lock and Unlock: values written
    there read back, but are not rendered. Raises Refused.
    """
    calls, item = host.calls, clip.item
    restorer = Restorer(host)
    with restorer:
        restorer.page()
        host.open_page("fusion")  # elsewhere compositions are None
        if int(calls.get(item, "GetFusionCompCount", default=0)) == 0:
            comp = calls.must(item, "AddFusionComp")
        else:
            comp = calls.must(item, "GetFusionCompByIndex", 1)
        loader = next(
            (
                tool
                for tool in (calls.get(comp, "GetToolList", default={}) or {}).values()
                if str(calls.get(tool, "GetInput", "Comments", default="")) == TRACK_NAME
            ),
            None,
        ) or calls.must(comp, "AddTool", "Loader", -1, 0)
        calls.ask(loader, "SetInput", "Comments", TRACK_NAME)
        path = str(files.first_file)
        calls.ask(loader, "SetInput", "Clip", path)
        if calls.get(loader, "GetInput", "Clip", default=path) != path:
            raise Refused("SetInput", "The Loader did not take the result's path")
        out = calls.must(comp, "FindTool", "MediaOut1")
        calls.must(out, "ConnectInput", "Input", loader)


def copy_look(host: ResolveHost, clip: TimelineClip, item: Any, notes: list[str]) -> None:
    """Give a result that was made from an ungraded plate the clip's grade and framing."""
    calls = host.calls
    if not calls.get(clip.item, "CopyGrades", [item], default=False):
        notes.append("Copy the clip's grade to the result by hand: Resolve refused CopyGrades")
    told = calls.get(clip.item, "GetProperty", default={})
    for name, value in (told if isinstance(told, dict) else {}).items():
        if calls.get(item, "GetProperty", name) != value and not calls.get(
            item, "SetProperty", name, value
        ):
            notes.append(f"Set {name} of the result to {value} by hand: Resolve refused it")


def _free_track(
    host: ResolveHost, timeline: Any, clip: TimelineClip, old: Optional[tuple[int, Any]]
) -> int:
    """The lowest track of ours above the clip with room for it; a new one where there is none."""
    calls, count = host.calls, track_count(host.calls, timeline)
    old_id = calls.ask(old[1], "GetUniqueId") if old else None
    for track in range(clip.track + 1, count + 1):
        if not is_ours(calls, timeline, track):
            continue
        if calls.get(timeline, "GetIsTrackLocked", "video", track, default=False):
            continue
        taken = any(
            calls.ask(item, "GetStart") <= clip.range.last
            and calls.ask(item, "GetEnd") > clip.range.first
            for item in items(calls, timeline, track)
            if calls.ask(item, "GetUniqueId") != old_id
        )
        if not taken:
            return track

    def added() -> bool:
        host.refresh()
        return track_count(calls, timeline) > count

    calls.must(timeline, "AddTrack", "video", done=added)
    host.refresh()
    track = track_count(calls, timeline)
    if track <= count:
        raise Refused("AddTrack", f"The timeline still has {count} video tracks")
    calls.must(
        timeline,
        "SetTrackName",
        "video",
        track,
        TRACK_NAME,
        done=lambda: is_ours(calls, timeline, track),
    )
    return track


def _take_away(host: ResolveHost, timeline: Any, old: tuple[int, Any]) -> dict[str, Any]:
    """Delete an older result; returns what `append` needs to bring it back."""
    calls, (track, item) = host.calls, old
    back = {
        "media": calls.ask(item, "GetMediaPoolItem"),
        "first": round(calls.get(item, "GetLeftOffset", default=0)),
        "count": round(calls.must(item, "GetDuration")),
        "track": track,
        "at": round(calls.must(item, "GetStart")),
    }
    calls.must(
        timeline,
        "DeleteClips",
        [item],
        False,
        done=lambda: item_at(calls, timeline, track, back["at"]) is None,
    )
    return back


def _keep(
    host: ResolveHost, timeline: Any, item: Any, track: int, clip: TimelineClip, notes: list[str]
) -> Any:
    """Save and look again: an item that was placed in error vanishes then."""
    if not host.save():
        notes.append("The project has no name yet and was not saved: save it, look again")
        return item
    found = item_at(host.calls, timeline, track, clip.range.first)
    if found is None:
        raise Refused("AppendToTimeline", "The placed result vanished when the project was saved")
    return found


def _is_result(host: ResolveHost, clip: TimelineClip, media: Any) -> bool:
    """Whether a take shows an older result of this clip: its record names the file."""
    record = read_record(host.calls, clip.item)
    if media is None or record is None:
        return False
    path = clip_property(host.calls, media, "File Path")
    return bool(path) and path == record.get("media")
