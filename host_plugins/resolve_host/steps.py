"""How far a run is, one small record at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

STAGES = {
    "plate": "Rendering the plate",
    "color": "Coloring",
    "import": "Bringing the result back",
    "done": "Done",
}


@dataclass(frozen=True)
class Step:
    """stage: a key of STAGES. done, total: frames. clip, clips: which clip of how many, from 1."""

    stage: str
    done: int
    total: int
    note: str = ""
    clip: int = 1
    clips: int = 1
    name: str = ""

    def of_clip(self, clip: int, clips: int, name: str) -> Step:
        return replace(self, clip=clip, clips=clips, name=name)

    @property
    def fraction(self) -> float:
        """Of this stage, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def sentence(self) -> str:
        which = f"{self.name} ({self.clip} of {self.clips}): " if self.clips > 1 else ""
        count = f" {self.done} of {self.total}" if self.total else ""
        return f"{which}{STAGES.get(self.stage, self.stage)}{count}. {self.note}".strip()
