"""How far a run is, one small record at a time, and the loop that drives it from a terminal."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Callable, TypeVar

from host_plugins.host_layer import Task

T = TypeVar("T")

STAGES = {
    "connect": "Asking the server",
    "plate": "Rendering the plate",
    "color": "Coloring",
    "import": "Bringing the result back",
    "done": "Done",
}


def drive(
    steps: Generator[Step, None, T],
    *,
    sleep: Callable[[float], None],
    show: Callable[[Step], None] = lambda step: None,
) -> T:
    """Run it to its end and return what it returns; a window's timer does the same tick by tick.

    Closes it, which cancels and restores, when `show` raises or the user interrupts.
    """
    try:
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            show(step)
            if step.pause_s:
                sleep(step.pause_s)
    finally:
        steps.close()


def waiting(task: Task[T]) -> Generator[Step, None, T]:
    """Steps until a task of the host layer has ended; returns its value or raises its error."""
    while not task.done:
        yield Step("connect", 0, 0, pause_s=0.1)
    return task.result()


@dataclass(frozen=True)
class Step:
    """stage: a key of STAGES. done, total: frames. clip, clips: which clip of how many, from 1.

    pause_s: nothing will have changed before that; whoever drives the run waits, not the run.
    """

    stage: str
    done: int
    total: int
    note: str = ""
    clip: int = 1
    clips: int = 1
    name: str = ""
    pause_s: float = 0.0

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
