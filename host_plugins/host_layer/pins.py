"""Exemplar pins: color stills, each tied to a frame of the clip or to none."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

from host_plugins.client import ExemplarPicture, file_buffer
from host_plugins.wire.errors import BridgeError


@dataclass(frozen=True)
class Pin:
    """path: a picture file, or a pattern with frame numbers filled in already. frame: the host's
    frame number that it shows, or None. thumbnail: a small picture of it for a list, or ""."""

    path: str
    frame: Optional[int] = None
    thumbnail: str = ""

    @property
    def label(self) -> str:
        """One line for a list."""
        where = "any frame" if self.frame is None else f"frame {self.frame}"
        return f"{where}: {Path(self.path).name}"

    def picture(self) -> ExemplarPicture:
        """As it goes to the server. Raises BridgeError bad_exemplar when it cannot be read."""
        try:
            return ExemplarPicture(file_buffer(Path(self.path)), self.frame)
        except BridgeError as error:
            raise BridgeError(
                "bad_exemplar", f"the exemplar for {self.label}: {error.message}"
            ) from None


class Pins:
    """A shot's exemplars in the order of their frames, unpinned ones last; saved as text."""

    def __init__(self, pins: Iterable[Pin] = ()) -> None:
        self._pins: list[Pin] = []
        for pin in pins:
            self.add(pin)

    def __iter__(self) -> Iterator[Pin]:
        return iter(tuple(self._pins))

    def __len__(self) -> int:
        return len(self._pins)

    def __getitem__(self, place: int) -> Pin:
        return self._pins[place]

    def add(self, pin: Pin) -> int:
        """Add one; it replaces the one pinned to the same frame. Returns its place in the list."""
        if pin.frame is None:
            self._pins = [p for p in self._pins if p.path != pin.path or p.frame is not None]
        else:
            self._pins = [other for other in self._pins if other.frame != pin.frame]
        self._pins.append(pin)
        self._pins.sort(key=lambda p: (p.frame is None, p.frame or 0))
        return self._pins.index(pin)

    def remove(self, place: int) -> Pin:
        """Take one out of the list; its file stays."""
        return self._pins.pop(place)

    def move(self, place: int, frame: Optional[int]) -> int:
        """Pin one to another frame; returns its new place."""
        pin = self._pins.pop(place)
        return self.add(Pin(pin.path, frame, pin.thumbnail))

    def pictures(self) -> tuple[ExemplarPicture, ...]:
        """All of them for the server. Raises exemplar_missing when there are none, bad_exemplar."""
        if not self._pins:
            raise BridgeError("exemplar_missing", "expected at least one exemplar, got none")
        return tuple(pin.picture() for pin in self._pins)

    def to_text(self) -> str:
        """One line of JSON for a hidden field of the host's project."""
        return json.dumps([asdict(pin) for pin in self._pins], separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Pins:
        """Read such a line; anything else gives an empty list, since a project must open."""
        try:
            items: Any = json.loads(text) if text.strip() else []
            return cls(_pin(item) for item in items)
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()


def _pin(item: Any) -> Pin:
    frame = item["frame"]
    return Pin(
        str(item["path"]),
        None if frame is None else int(frame),
        str(item.get("thumbnail", "")),
    )
