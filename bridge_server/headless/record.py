"""The job record: what was asked, what was done, and why they differ; JSON beside the output."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accel.report import PerformanceReport
from bridge_server import __version__
from bridge_server.effects.performance import SWITCHES

FORMAT = 1


@dataclass
class Record:
    """Filled while the job runs; `save` writes it whole or not at all.

    times_s: seconds by stage: load (until the network was ready), warm_up (compiling), decode
    (plate to luma), queue (on the way and waiting), prepare and enlarge (working size and back),
    network, join, encode; stages overlap, so that they add up to more than wall. ran: what turned
    out otherwise than effective had it when the session began. peak_bytes: the most that the
    worker's device had in use since the worker began, None where it cannot tell. journal: the file
    from which an unfinished movie can go on, empty when there is none.
    """

    plate: str
    output: str
    effect: str
    asked: Mapping[str, Any]
    effective: dict[str, Any] = field(default_factory=dict)
    ran: dict[str, Any] = field(default_factory=dict)
    made_by: dict[str, Any] = field(default_factory=dict)
    exemplars: list[dict[str, Any]] = field(default_factory=list)
    full_size: tuple[int, int] = (0, 0)
    working_size: tuple[int, int] = (0, 0)
    frames_asked: int = 0
    frames_done: int = 0
    frames_kept: int = 0
    status: str = "running"
    times_s: dict[str, float] = field(default_factory=dict)
    frames_per_s: float = 0.0
    server: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    journal: str = ""
    peak_bytes: int | None = None
    error: dict[str, str] | None = None
    started_at: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%S%z"))

    def add_time(self, stage: str, seconds: float) -> None:
        self.times_s[stage] = self.times_s.get(stage, 0.0) + seconds

    def warn(self, text: str) -> None:
        """Add a warning once, however often it happens."""
        if text not in self.warnings:
            self.warnings.append(text)

    @property
    def performance(self) -> PerformanceReport:
        """The run in the fields that users of the research nodes know."""
        wall, load, warm_up = (self.times_s.get(name, 0.0) for name in ("wall", "load", "warm_up"))
        said = {**self.effective, **self.ran}
        effective = {name: said[name] for name in SWITCHES if name in said}
        return PerformanceReport(
            effect=self.effect,
            frames=self.frames_done,
            height=self.full_size[0],
            width=self.full_size[1],
            working_size=self.working_size,
            total_s=max(0.0, wall - load - warm_up),
            load_s=load,
            warm_up_s=warm_up,
            asked={name: self.asked.get(name, "default") for name in effective},
            effective=effective,
            reasons=tuple(self.notes),
            peak_bytes=self.peak_bytes,
        )

    def lines(self) -> list[str]:
        """The performance report as text, with what made the colors and every warning."""
        made_by = (
            f"Made by {self.made_by.get('network', '?')}, weights "
            f"{self.made_by.get('weights', '?')} ({self.made_by.get('license', '?')}), "
            f"{self.started_at}"
        )
        stages = ", ".join(f"{name} {value:.2f}" for name, value in self.times_s.items())
        return [
            made_by,
            *self.performance.text().splitlines(),
            f"Seconds by stage (they overlap): {stages}",
            f"{self.frames_kept} of {self.frames_asked} frames kept from an earlier run",
            *(f"warning: {warning}" for warning in self.warnings),
        ]

    def save(self, path: Path) -> None:
        """Write through a temporary name."""
        told = {
            "format": FORMAT,
            "version": __version__,
            "python": platform.python_version(),
            "system": platform.platform(),
            **asdict(self),
            "performance": self.performance.to_json(),
            "times_s": {stage: round(value, 3) for stage, value in self.times_s.items()},
        }
        temporary = path.with_name(f".{path.name}.part")
        temporary.write_text(json.dumps(told, indent=1, ensure_ascii=False), encoding="utf-8")
        temporary.replace(path)


def record_path(output: Path) -> Path:
    """Where the record of an output lies: OUT.chromabridge.json, pattern signs left out."""
    name = re.sub(r"[#@]+|%0?\d*d", "", output.name)
    stem = name.rsplit(".", 1)[0].rstrip("._-") or "clip"
    return output.with_name(f"{stem}.chromabridge.json")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
