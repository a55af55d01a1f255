"""Which Resolve this is, and what that means for us in one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from host_plugins.resolve_host.calls import Calls

OLDEST = (18, 5)
FREE_WITHOUT_WINDOWS = (19, 1)
FREE_WITHOUT_PYTHON = (21, 1)


@dataclass(frozen=True)
class Edition:
    """studio: the paid edition. version: such as (21, 0, 4)."""

    studio: bool
    version: tuple[int, ...]

    @property
    def label(self) -> str:
        name = "DaVinci Resolve Studio" if self.studio else "DaVinci Resolve (free)"
        return f"{name} {'.'.join(str(part) for part in self.version)}"

    @property
    def supported(self) -> bool:
        """Studio 18.5 or later, or the free edition up to 21.0.4."""
        if self.version < OLDEST:
            return False
        return self.studio or self.version < FREE_WITHOUT_PYTHON

    @property
    def windows(self) -> bool:
        """Own windows may be opened. The free edition answers with an advertisement that blocks
        every later call, so that it must not even be tried there."""
        return self.supported and (self.studio or self.version < FREE_WITHOUT_WINDOWS)

    @property
    def outside(self) -> bool:
        """Scripts from outside Resolve are let in."""
        return self.supported and self.studio

    @property
    def sentence(self) -> str:
        """What works here."""
        if self.version < OLDEST:
            return f"{self.label} is too old: ChromaBridge needs 18.5 or later."
        if self.studio:
            return f"{self.label}: everything works."
        if self.version >= FREE_WITHOUT_PYTHON:
            return f"{self.label} runs no Python scripts: ChromaBridge needs Studio here."
        if self.windows:
            return f"{self.label}: works from the Scripts menu, not from a terminal."
        return (
            f"{self.label}: runs from the Scripts menu with saved presets; own windows and "
            "the terminal need Studio."
        )


def read_edition(calls: Calls) -> Edition:
    """Ask Resolve for its name and version; IsStudio decides where the name is not given."""
    name = str(calls.get(calls.resolve, "GetProductName", default=""))
    studio = "Studio" in name if name else bool(calls.get(calls.resolve, "IsStudio"))
    return Edition(studio, _version(calls.get(calls.resolve, "GetVersion", default=())))


def _version(told: Any) -> tuple[int, ...]:
    """[major, minor, patch, build, suffix] -> (major, minor, patch)."""
    numbers = [int(part) for part in list(told)[:3] if isinstance(part, (int, float))]
    return tuple(numbers) if numbers else (0, 0)
