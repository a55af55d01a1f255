"""What works on this machine and what does not, with a fix for each thing; asks, changes nothing.

A check is a function that yields findings; the list of them is the doctor. A check that breaks is
itself a finding, so that one broken part never hides the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from host_plugins import places
from install.findings import PROBLEM, Finding, healthy
from install.machine import Machine

SCHEMA = 1
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Context:
    """What checks look at; tests invent it. root: where ChromaBridge's packages lie."""

    machine: Machine = field(default_factory=Machine)
    home: Path = field(default_factory=places.home)
    root: Path = Path(__file__).resolve().parent.parent


Check = Callable[[Context], Iterable[Finding]]


@dataclass(frozen=True)
class Diagnosis:
    """The findings of each section, in order."""

    sections: Mapping[str, tuple[Finding, ...]]

    @property
    def healthy(self) -> bool:
        return all(healthy(findings) for findings in self.sections.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "healthy": self.healthy,
            "sections": {
                name: [asdict(finding) for finding in findings]
                for name, findings in self.sections.items()
            },
        }

    def lines(self) -> list[str]:
        """The findings for people: a heading a section, a mark a finding, its fix below."""
        marks = {"ok": "ok  ", "note": "note", PROBLEM: "BAD "}
        lines = []
        for name, findings in self.sections.items():
            lines.append(f"{name}")
            for finding in findings:
                lines.append(f"  {marks[finding.state]} {finding.name}: {finding.detail}")
                if finding.fix:
                    lines.append(f"       fix: {finding.fix}")
        problems = [f for found in self.sections.values() for f in found if f.state == PROBLEM]
        lines.append("healthy" if not problems else f"{len(problems)} to mend")
        return lines


def diagnose(
    context: Context | None = None, checks: Sequence[tuple[str, Check]] | None = None
) -> Diagnosis:
    """Run all checks; never raises."""
    if checks is None:
        from bridge_server.doctor_checks import CHECKS

        checks = CHECKS
    context = context or Context()
    sections: dict[str, tuple[Finding, ...]] = {}
    for name, check in checks:
        sections[name] = (*sections.get(name, ()), *_guarded(name, check, context))
    return Diagnosis(sections)


def _guarded(name: str, check: Check, context: Context) -> tuple[Finding, ...]:
    found: list[Finding] = []
    try:
        found.extend(check(context))
    except Exception as error:  # a doctor who dies of a patient's illness helps nobody
        log.debug("check %s broke", name, exc_info=True)
        found.append(
            Finding(
                f"{name}.check",
                PROBLEM,
                f"this check broke: {type(error).__name__}: {error}",
                "Reinstall with: python3 install/bootstrap.py server",
            )
        )
    return tuple(found)
