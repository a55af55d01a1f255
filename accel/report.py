"""What a run cost and which switches it ran with: the seed's report fields, as JSON and as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from accel.choice import Json


@dataclass(frozen=True)
class PerformanceReport:
    """Of one run over a clip.

    height, width: of the delivered frames; working_size: (height, width) that the network saw.
    total_s: wall time of the frames, loading and warm-up apart. asked, effective: switches by the
    seed's names. reasons: why they differ, a line a role. peak_bytes: of device memory, if known.
    """

    effect: str
    frames: int
    height: int
    width: int
    working_size: tuple[int, int]
    total_s: float
    load_s: float = 0.0
    warm_up_s: float = 0.0
    asked: Mapping[str, Json] = field(default_factory=dict)
    effective: Mapping[str, Json] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    peak_bytes: int | None = None

    @property
    def seconds_per_frame(self) -> float:
        return self.total_s / self.frames if self.frames else 0.0

    @property
    def fps(self) -> float:
        return self.frames / self.total_s if self.total_s > 0 else 0.0

    def to_json(self) -> dict[str, Json]:
        return {
            "schema": 1,
            "effect": self.effect,
            "frames": self.frames,
            "resolution": [self.height, self.width],
            "working_size": list(self.working_size),
            "total_s": round(self.total_s, 3),
            "fps": round(self.fps, 3),
            "seconds_per_frame": round(self.seconds_per_frame, 4),
            "load_s": round(self.load_s, 3),
            "warm_up_s": round(self.warm_up_s, 3),
            "peak_bytes": self.peak_bytes,
            "asked": dict(self.asked),
            "effective": dict(self.effective),
            "reasons": list(self.reasons),
        }

    def text(self) -> str:
        """A line a field, then the switches that came out otherwise than asked, then reasons."""
        peak = "not measured" if self.peak_bytes is None else f"{self.peak_bytes / 2**20:.0f} MiB"
        rows = [
            ("Effect", self.effect),
            ("Frames processed", f"{self.frames}"),
            ("Resolution", f"{self.width} x {self.height}"),
            ("Network saw", f"{self.working_size[1]} x {self.working_size[0]}"),
            ("Total time", f"{self.total_s:.2f} s ({self.fps:.2f} frames/s)"),
            ("Time per frame", f"{self.seconds_per_frame:.3f} s"),
            (
                "Loading, warm-up",
                f"{self.load_s:.2f} s, {self.warm_up_s:.2f} s (not counted above)",
            ),
            ("Peak memory", peak),
            *((name, _switch(self.asked.get(name), v)) for name, v in self.effective.items()),
        ]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {value}" for name, value in rows]
        return "\n".join([*lines, *(f"  {reason}" for reason in self.reasons)])


def _switch(asked: Json, effective: Json) -> str:
    shown = {True: "on", False: "off"}
    words = [shown.get(v, str(v)) if isinstance(v, bool) else str(v) for v in (asked, effective)]
    return words[1] if asked is None or words[0] == words[1] else f"{words[1]} (asked: {words[0]})"
