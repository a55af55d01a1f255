"""How far a job is and when it will end, from the frames that were really computed."""

from __future__ import annotations

import time
from collections import deque
from typing import Callable, Optional


class Progress:
    """Counts frames; those out of the cache do not enter the speed. total: 0 when not known."""

    def __init__(self, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        self.done = 0
        self.cached = 0
        self._clock = clock
        self._stamps: deque[float] = deque(maxlen=25)

    def start(self) -> None:
        """The next frame is being computed from now on."""
        self._stamps.clear()
        self._stamps.append(self._clock())

    def count(self, *, cached: bool) -> None:
        """One more frame is in the host's hands."""
        self.done += 1
        if cached:
            self.cached += 1
        else:
            self._stamps.append(self._clock())

    @property
    def fps(self) -> float:
        """Frames per second over the last ones; 0 while none was computed."""
        if len(self._stamps) < 2 or self._stamps[-1] <= self._stamps[0]:
            return 0.0
        return (len(self._stamps) - 1) / (self._stamps[-1] - self._stamps[0])

    @property
    def eta_s(self) -> Optional[float]:
        """Seconds until the last frame, None while that cannot be told."""
        if not self.total or not self.fps:
            return None
        return max(0, self.total - self.done) / self.fps


def in_words(seconds: Optional[float]) -> str:
    """A duration for a panel: "8 s", "2 min 05 s", "1 h 10 min"; "" for None."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
