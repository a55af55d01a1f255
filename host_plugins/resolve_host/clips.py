"""Which clips of the timeline a run is about, and where each of them is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Optional

from host_plugins.resolve_host.calls import Calls, HostChanged, filled
from host_plugins.resolve_host.frames import Range
from host_plugins.resolve_host.host import ResolveHost
from host_plugins.resolve_host.labels import TRACK_NAME
from host_plugins.resolve_host.properties import clip_property
from host_plugins.wire.errors import BridgeError

CLIP_COLORS = (
    "Orange", "Apricot", "Yellow", "Lime", "Olive", "Green", "Teal", "Navy", "Blue", "Purple",
    "Violet", "Pink", "Tan", "Beige", "Brown", "Chocolate",
)  # fmt: skip


@dataclass(frozen=True)
class TimelineClip:
    """A clip on a video track, as it was when it was read.

    range: absolute timeline frames. left: how many source frames its head has lost; frame numbers
    of a run count in the source, so that they hold when the clip is moved. path: its file, or ""
    for a compound.
    """

    uid: str
    name: str
    track: int
    range: Range
    left: int
    path: str
    color: str
    item: Any = field(compare=False, repr=False)
    media: Any = field(compare=False, repr=False)

    @property
    def first_index(self) -> int:
        """The source frame under the clip's first timeline frame."""
        return self.left

    @property
    def last_index(self) -> int:
        return self.left + self.range.count - 1

    def index_at(self, frame: int) -> int:
        """The source frame under an absolute timeline frame."""
        return self.left + frame - self.range.first

    def frame_at(self, index: int) -> int:
        """The absolute timeline frame over a source frame."""
        return self.range.first + index - self.left


def choose_clips(
    host: ResolveHost, timeline: Any, which: str
) -> tuple[list[TimelineClip], list[str]]:
    """which: "playhead", "selected", "track:2", "color:Teal" or "all".

    Returns the clips in the order of the timeline, and a sentence for each thing left out.
    Raises BridgeError host_nothing, bad_param.
    """
    kind, _, value = which.partition(":")
    notes: list[str] = []
    if kind == "selected" and not host.calls.has(timeline, "GetSelectedClips"):
        notes.append("This Resolve tells no selection (21.0.4 does): took the clip at the playhead")
        kind = "playhead"
    if kind == "playhead":
        found = _at_playhead(host, timeline)
    elif kind == "selected":
        found = _selected(host, timeline, notes)
    elif kind == "track" and value.isdigit():
        found = _readable(host.calls, timeline, int(value), notes)
    elif kind == "color" and value in CLIP_COLORS:
        found = [clip for clip in _everything(host, timeline, []) if clip.color == value]
    elif kind == "all":
        found = list(_everything(host, timeline, notes))
    else:
        raise BridgeError(
            "bad_param",
            f"expected playhead, selected, track:NUMBER, color:NAME or all, got {which!r}",
            hint=f"Clip colors are {', '.join(CLIP_COLORS)}.",
        )
    if not found:
        why = " ".join(f"{note}." for note in notes)
        raise BridgeError(
            "host_nothing",
            f"There is no clip to color for {which!r}. {why}".strip(),
            hint="Put the playhead over a clip, select clips, or name a track or clip color.",
        )
    return sorted(found, key=lambda clip: (clip.range.first, clip.track)), notes


def read_clip(calls: Calls, item: Any, track: int) -> Optional[TimelineClip]:
    """Read an item; None for transitions, titles and generators, which have no media."""
    media = calls.ask(item, "GetMediaPoolItem")
    if media is None:
        return None
    told = calls.get(item, "GetTrackTypeAndIndex", default=())
    if len(told) == 2:
        track = int(told[1])
    return TimelineClip(
        uid=str(calls.must(item, "GetUniqueId")),
        name=str(calls.must(item, "GetName")),
        track=track,
        range=Range.of_item(calls.must(item, "GetStart"), calls.must(item, "GetEnd")),
        left=round(calls.get(item, "GetLeftOffset", default=0)),
        path=clip_property(calls, media, "File Path"),
        color=str(calls.get(item, "GetClipColor", default="")),
        item=item,
        media=media,
    )


def read_again(host: ResolveHost, timeline: Any, clip: TimelineClip) -> TimelineClip:
    """The clip as it is now; it may have moved. Raises HostChanged when it is gone or cut."""
    for track in range(1, track_count(host.calls, timeline) + 1):
        for item in items(host.calls, timeline, track):
            if host.calls.get(item, "GetUniqueId") == clip.uid:
                now = read_clip(host.calls, item, track)
                if now is None or (now.left, now.range.count) != (clip.left, clip.range.count):
                    raise HostChanged(f"The clip {clip.name} was trimmed while the run went on")
                return now
    raise HostChanged(f"The clip {clip.name} is not on the timeline any more")


def track_count(calls: Calls, timeline: Any) -> int:
    return int(calls.get(timeline, "GetTrackCount", "video", default=0))


def items(calls: Calls, timeline: Any, track: int) -> list[Any]:
    """The items of a video track; Resolve answers None for an empty one."""
    return list(calls.ask(timeline, "GetItemListInTrack", "video", track) or [])


def is_ours(calls: Calls, timeline: Any, track: int) -> bool:
    """Whether a track holds results."""
    return str(calls.get(timeline, "GetTrackName", "video", track, default="")).startswith(
        TRACK_NAME
    )


def _everything(host: ResolveHost, timeline: Any, notes: list[str]) -> Iterator[TimelineClip]:
    for track in range(1, track_count(host.calls, timeline) + 1):
        if not is_ours(host.calls, timeline, track):
            yield from _readable(host.calls, timeline, track, notes)


def _readable(calls: Calls, timeline: Any, track: int, notes: list[str]) -> list[TimelineClip]:
    if not 1 <= track <= track_count(calls, timeline):
        notes.append(f"There is no video track {track}")
        return []
    found = []
    for item in items(calls, timeline, track):
        clip = read_clip(calls, item, track)
        if clip is None:
            name = calls.get(item, "GetName", default="an item")
            notes.append(f"Left out {name} on track {track}: it has no media of its own")
        else:
            found.append(clip)
    return found


def _at_playhead(host: ResolveHost, timeline: Any) -> list[TimelineClip]:
    """The topmost clip that is not one of our results."""
    calls = host.calls
    item = calls.ask(timeline, "GetCurrentVideoItem")
    clip = read_clip(calls, item, 0) if item is not None else None
    if clip is not None and not (clip.track and is_ours(calls, timeline, clip.track)):
        return [clip] if clip.track else [_with_track(calls, timeline, clip)]
    timecode = calls.ask(timeline, "GetCurrentTimecode")
    if not filled(timecode):
        return []
    frame = host.rate(timeline).frame(str(timecode))
    for track in range(track_count(calls, timeline), 0, -1):
        if not is_ours(calls, timeline, track):
            for clip in _readable(calls, timeline, track, []):
                if frame in clip.range:
                    return [clip]
    return []


def _with_track(calls: Calls, timeline: Any, clip: TimelineClip) -> TimelineClip:
    """For versions before 19.0.2, which do not tell an item's track."""
    for track in range(1, track_count(calls, timeline) + 1):
        for other in _readable(calls, timeline, track, []):
            if other.uid == clip.uid:
                return other
    return clip


def _selected(host: ResolveHost, timeline: Any, notes: list[str]) -> list[TimelineClip]:
    found = []
    for item in host.calls.ask(timeline, "GetSelectedClips") or []:
        clip = read_clip(host.calls, item, 0)
        if clip is None:
            notes.append("Left out a selected item: it has no media of its own")
        elif not (clip.track and is_ours(host.calls, timeline, clip.track)):
            found.append(clip)
    return found
