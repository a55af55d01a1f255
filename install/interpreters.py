"""Finding every CPython that hosts may bring, so that what runs inside hosts is tested on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from install.machine import Machine

HOST_MINORS = (9, 10, 11, 12, 13)

_PROBE = (
    "import platform, sys;"
    "print(platform.python_implementation(), *sys.version_info[:3], sys.executable, sep='|')"
)


@dataclass(frozen=True)
class Interpreter:
    """A CPython on this machine; version: (major, minor, patch)."""

    path: Path
    version: tuple[int, int, int]

    @property
    def label(self) -> str:
        return ".".join(str(part) for part in self.version)


def find(machine: Machine, minors: tuple[int, ...] = HOST_MINORS) -> dict[int, Interpreter]:
    """The newest patch release of each CPython 3.minor that PATH, pyenv or `py` offers."""
    found: dict[int, Interpreter] = {}
    for minor in minors:
        for command in _commands(machine, minor):
            interpreter = probe(machine, command)
            if interpreter is None or interpreter.version[:2] != (3, minor):
                continue
            known = found.get(minor)
            if known is None or known.version < interpreter.version:
                found[minor] = interpreter
    return found


def probe(machine: Machine, command: list[str]) -> Interpreter | None:
    """What an interpreter says of itself; None when it does not run or is no CPython."""
    text = machine.run([*command, "-I", "-c", _PROBE])
    parts = text.strip().splitlines()[-1].split("|") if text and text.strip() else []
    if len(parts) != 5 or parts[0] != "CPython":
        return None
    version = (int(parts[1]), int(parts[2]), int(parts[3]))
    return Interpreter(Path(parts[4]), version)


def _commands(machine: Machine, minor: int) -> Iterator[list[str]]:
    if machine.windows:
        launcher = machine.find("py")
        if launcher:
            yield [launcher, f"-3.{minor}"]
        return
    command = machine.find(f"python3.{minor}")
    if command:
        yield [command]
    root = Path(machine.env.get("PYENV_ROOT") or machine.home / ".pyenv")
    for folder in sorted((root / "versions").glob(f"3.{minor}.*")):
        yield [str(folder / "bin" / "python")]
