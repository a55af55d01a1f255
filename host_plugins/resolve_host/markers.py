"""What a run writes into markers: exemplars pinned to frames, and records of finished jobs.

The text of a marker's customData is ours alone: users never see it, Resolve keeps it with the clip.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from host_plugins.host_layer import Pin, Pins
from host_plugins.resolve_host.calls import Calls
from host_plugins.resolve_host.clips import TimelineClip
from host_plugins.resolve_host.labels import PIN_MARKER, RESULT_MARKER

VERSION = 1
NEIGHBORS = 12


@dataclass(frozen=True)
class PinMarker:
    """An exemplar as found on a clip. key: the marker's frame as Resolve counts it. data: its
    customData. pin.frame: the source frame, None when the exemplar belongs to no frame."""

    key: int
    data: str
    uid: str
    pin: Pin


def pin_exemplar(calls: Calls, clip: TimelineClip, pin: Pin) -> PinMarker:
    """Leave a marker on the clip for an exemplar; one pinned to the same frame gives way.

    A frame takes one marker only: where the user has one, the next free frame is used, and the
    exemplar still belongs to the frame that `pin` names. Raises Refused.
    """
    for old in read_pins(calls, clip):
        if old.pin.frame == pin.frame and (pin.frame is not None or old.pin.path == pin.path):
            remove_marker(calls, clip.item, old.data)
    uid = uuid.uuid4().hex[:8]
    wanted = clip.first_index if pin.frame is None else pin.frame
    taken = {round(key) for key in calls.get(clip.item, "GetMarkers", default={})}
    key = next(
        (k for step in range(NEIGHBORS) for k in (wanted + step, wanted - step) if k not in taken),
        wanted + NEIGHBORS,
    )
    data = json.dumps(
        {
            "colorize": VERSION,
            "id": uid,
            "path": pin.path,
            "frame": pin.frame,
            "at": key,
            "left": clip.left,
        },
        separators=(",", ":"),
    )
    add_marker(calls, clip.item, key, PIN_MARKER, "Exemplar", Path(pin.path).name, data)
    return PinMarker(key, data, uid, pin)


def read_pins(calls: Calls, clip: TimelineClip) -> list[PinMarker]:
    """The exemplars pinned to a clip, where they are now.

    Trimming moves nothing, whichever end Resolve counts item markers from. A marker that the user
    dragged takes its exemplar along. One beyond the clip's ends belongs to no frame any more.
    """
    found = []
    for key, told in _ours(calls, clip.item):
        if "path" not in told:
            continue
        frame: Optional[int] = told.get("frame")
        if frame is not None:
            trimmed = clip.left - int(told.get("left", clip.left))
            at = int(told.get("at", key))
            moved = 0 if key in (at, at - trimmed) else key - at
            frame = int(frame) + moved
            if not clip.first_index <= frame <= clip.last_index:
                frame = None
        pin = Pin(str(told["path"]), frame)
        found.append(PinMarker(key, str(told["_data"]), str(told.get("id", "")), pin))
    return found


def pins_of(calls: Calls, clip: TimelineClip) -> Pins:
    """As the host layer takes them."""
    return Pins(marker.pin for marker in read_pins(calls, clip))


def write_record(calls: Calls, item: Any, record: Mapping[str, Any], *, key: int = 0) -> None:
    """Leave the record of a job on an item, in place of an older one. Raises Refused."""
    for _, told in _ours(calls, item):
        if "result" in told:
            remove_marker(calls, item, str(told["_data"]))
    data = json.dumps({"colorize": VERSION, "result": dict(record)}, separators=(",", ":"))
    taken = {round(frame) for frame in calls.get(item, "GetMarkers", default={})}
    key = next(frame for frame in range(key, key + len(taken) + 1) if frame not in taken)
    note = f"{record.get('effect', '')} {record.get('when', '')}".strip()
    add_marker(calls, item, key, RESULT_MARKER, "Colorized", note, data)


def read_record(calls: Calls, item: Any) -> Optional[Mapping[str, Any]]:
    """The record on an item, None when there is none."""
    for _, told in _ours(calls, item):
        if isinstance(told.get("result"), dict):
            return told["result"]  # type: ignore[no-any-return]
    return None


def add_marker(
    calls: Calls, item: Any, key: int, color: str, name: str, note: str, data: str
) -> None:
    """Add a marker of one frame. Raises Refused."""
    calls.must(
        item,
        "AddMarker",
        key,
        color,
        name,
        note,
        1,
        data,
        done=lambda: calls.get(item, "GetMarkerByCustomData", data),
        hint="Another marker may sit on that frame; move it and try again.",
    )


def remove_marker(calls: Calls, item: Any, data: str) -> None:
    """Remove the marker with this customData."""
    calls.must(
        item,
        "DeleteMarkerByCustomData",
        data,
        done=lambda: not calls.get(item, "GetMarkerByCustomData", data, default={}),
    )


def remove_all(calls: Calls, item: Any) -> int:
    """Remove every marker of ours from an item; returns how many there were."""
    ours = _ours(calls, item)
    for _, told in ours:
        remove_marker(calls, item, str(told["_data"]))
    return len(ours)


def _ours(calls: Calls, item: Any) -> list[tuple[int, dict[str, Any]]]:
    """(frame, customData as a map) of our markers; the frames come as floats now and then."""
    found = []
    for key, marker in (calls.get(item, "GetMarkers", default={}) or {}).items():
        data = marker.get("customData") if isinstance(marker, dict) else None
        if not data or "colorize" not in str(data):
            continue
        try:
            told = json.loads(data)
        except ValueError:
            continue
        if isinstance(told, dict) and told.get("colorize"):
            found.append((round(float(key)), {**told, "_data": data}))
    return sorted(found, key=lambda pair: pair[0])
