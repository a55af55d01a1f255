"""Telling the user what each step did: done, skipped because, failed because; as text or JSON."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Optional, TextIO

from install.errors import FAILED, OK, InstallError

SCHEMA = 1


@dataclass(frozen=True)
class Step:
    """One line of a report; state is "done", "skipped" or "failed"."""

    name: str
    state: str
    detail: str
    code: str = ""
    hint: str = ""
    seconds: float = 0.0


class Report:
    """Collects steps; prints each as it ends, or all of them as one JSON object at the end."""

    def __init__(self, command: str, *, as_json: bool = False, out: Optional[TextIO] = None):
        self.command = command
        self.as_json = as_json
        self.steps: list[Step] = []
        self._out = out if out is not None else sys.stdout
        self._begun = time.monotonic()

    @property
    def stream(self) -> TextIO:
        """Where the output of child processes belongs: never into the JSON."""
        return sys.stderr if self.as_json else self._out

    def begin(self, name: str, detail: str = "") -> None:
        """Say that a step starts, and start its clock."""
        self._begun = time.monotonic()
        self._say(f"...      {name}" + (f": {detail}" if detail else ""))

    def done(self, name: str, detail: str) -> None:
        self._add(Step(name, "done", detail, seconds=self._elapsed()))

    def skipped(self, name: str, reason: str) -> None:
        self._add(Step(name, "skipped", reason))

    def failed(self, name: str, error: InstallError) -> None:
        self._add(
            Step(name, "failed", error.message, error.code, error.hint, seconds=self._elapsed())
        )

    @property
    def ok(self) -> bool:
        return all(step.state != "failed" for step in self.steps)

    def finish(self, exit_code: Optional[int] = None) -> int:
        """Print the JSON object if it was asked for; returns the exit code."""
        code = exit_code if exit_code is not None else (OK if self.ok else FAILED)
        if self.as_json:
            envelope = {
                "schema": SCHEMA,
                "command": self.command,
                "ok": code == OK,
                "exit_code": code,
                "steps": [asdict(step) for step in self.steps],
            }
            print(json.dumps(envelope, indent=1), file=self._out)
        return code

    def _add(self, step: Step) -> None:
        self.steps.append(step)
        code = f" [{step.code}]" if step.code else ""
        seconds = f" ({step.seconds:.1f} s)" if step.seconds >= 1 else ""
        self._say(f"{step.state:<8} {step.name}: {step.detail}{code}{seconds}")
        if step.hint:
            self._say(f"         {step.hint}")
        self._begun = time.monotonic()

    def _elapsed(self) -> float:
        return round(time.monotonic() - self._begun, 2)

    def _say(self, line: str) -> None:
        if not self.as_json:
            print(line, file=self._out, flush=True)
