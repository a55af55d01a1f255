"""Machines that do not exist, for decisions about systems that the tests do not run on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

from install.machine import Machine


def machine(
    system: str = "linux",
    *,
    commands: Optional[Mapping[str, str]] = None,
    outputs: Optional[Mapping[str, str]] = None,
    env: Optional[Mapping[str, str]] = None,
    paths: Sequence[str] = (),
    home: Path = Path("/home/ada"),
) -> Machine:
    """commands: name -> path on PATH. outputs: what a command prints whose words hold the key; the
    first key that fits speaks. paths: what exists."""
    known = {Path(path) for path in paths}

    def run(words: Sequence[str]) -> Optional[str]:
        line = " ".join(words)
        return next((text for key, text in (outputs or {}).items() if key in line), None)

    return Machine(
        system=system,
        cpu="x86_64",
        env=env or {},
        home=home,
        find=(commands or {}).get,
        run=run,
        exists=lambda path: path in known,
    )
