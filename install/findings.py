"""What a check found, why it matters and how to mend it; the one shape of every check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

OK = "ok"
NOTE = "note"
PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """state: "ok", "note" (works, but worth knowing) or "problem" (something asked for cannot).

    name: dotted, stable, such as "cuda.nvcc". fix: what to type or do; empty only when ok.
    """

    name: str
    state: str
    detail: str
    fix: str = ""


def healthy(findings: Iterable[Finding]) -> bool:
    """Whether nothing is a problem."""
    return all(finding.state != PROBLEM for finding in findings)
