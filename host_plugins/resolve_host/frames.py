"""Frame numbers, rates and timecode; which numbers count from where.

Absolute frames count from midnight (a timeline usually begins at 01:00:00:00): item start and end,
recordFrame, render MarkIn and MarkOut. Frames of timeline markers and in/out marks count from the
timeline's start, those of an item's markers from its source's first frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from host_plugins.wire.errors import BridgeError


@dataclass(frozen=True)
class Range:
    """Absolute timeline frames, first and last inclusive."""

    first: int
    last: int

    @classmethod
    def of_item(cls, start: float, end: float) -> Range:
        """From GetStart and GetEnd, whose end is exclusive."""
        return cls(round(start), round(end) - 1)

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    def relative_to(self, start: int) -> Range:
        """The same frames, counted from the timeline's start."""
        return Range(self.first - start, self.last - start)

    def __contains__(self, frame: int) -> bool:
        return self.first <= frame <= self.last


@dataclass(frozen=True)
class Rate:
    """Frames per second as Resolve writes them. drop: timecode is drop-frame."""

    text: str
    drop: bool = False

    @classmethod
    def parse(cls, text: object, *, drop: bool = False) -> Rate:
        """ "23.976", "24", "29.97 DF", 25.0. Raises BridgeError clip_unreadable."""
        words = str(text).upper().split()
        try:
            number = float(words[0])
            if not 0 < number < 1000:
                raise ValueError
        except (IndexError, ValueError):
            raise BridgeError(
                "clip_unreadable", f"expected a frame rate such as 23.976, got {text!r}"
            ) from None
        return cls(f"{number:g}", drop or "DF" in words[1:])

    @property
    def number(self) -> float:
        return float(self.text)

    @property
    def exact(self) -> Fraction:
        """23.976 is 24000/1001."""
        whole = self.nominal
        ntsc = Fraction(whole * 1000, 1001)
        if abs(self.number - float(ntsc)) < min(5e-3, abs(self.number - whole) + 1e-9):
            return ntsc
        return Fraction(self.number).limit_denominator(1000)

    @property
    def nominal(self) -> int:
        """Frames in a second of timecode."""
        return max(1, round(self.number))

    def same_as(self, other: Rate) -> bool:
        return self.exact == other.exact

    def timecode(self, frame: int) -> str:
        """The timecode of an absolute frame; with ";" before the frames when it drops."""
        if self.drop:
            frame += self._dropped(frame)
        seconds, frames = divmod(frame, self.nominal)
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        return f"{clock}{';' if self.drop else ':'}{frames:02d}"

    def frame(self, timecode: str) -> int:
        """The absolute frame of a timecode. Raises BridgeError clip_unreadable."""
        try:
            hours, minutes, seconds, frames = (
                int(word) for word in timecode.replace(";", ":").split(":")
            )
        except ValueError:
            raise BridgeError(
                "clip_unreadable", f"expected a timecode such as 01:00:00:00, got {timecode!r}"
            ) from None
        total_minutes = hours * 60 + minutes
        frame = (total_minutes * 60 + seconds) * self.nominal + frames
        if self.drop:
            frame -= self._per_minute * (total_minutes - total_minutes // 10)
        return frame

    @property
    def _per_minute(self) -> int:
        """Labels dropped each minute but every tenth: 2 at 29.97, 4 at 59.94 (SMPTE ST 12-1)."""
        return 2 * round(self.nominal / 30)

    def _dropped(self, frame: int) -> int:
        minute = 60 * self.nominal - self._per_minute
        ten_minutes = 600 * self.nominal - 9 * self._per_minute
        tens, rest = divmod(frame, ten_minutes)
        dropped = 9 * tens
        if rest >= 60 * self.nominal:
            dropped += 1 + (rest - 60 * self.nominal) // minute
        return dropped * self._per_minute
