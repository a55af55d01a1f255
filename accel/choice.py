"""Picks one implementation of a role from candidates and keeps every reason why others were not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, Union

F = TypeVar("F")
T = TypeVar("T")
Json = Union[None, bool, int, float, str, "list[Json]", "dict[str, Json]"]


@dataclass(frozen=True)
class Candidate(Generic[F, T]):
    """One implementation of a role.

    why_not: facts -> the reasons why it cannot serve; none means that it can.
    build: facts -> the thing itself; called only for the candidate that was chosen.
    tolerance: how far its results may be from the reference's, in words with a figure.
    """

    name: str
    why_not: Callable[[F], tuple[str, ...]]
    build: Callable[[F], T]
    tolerance: str = "identical"


@dataclass(frozen=True)
class Refusal:
    """A candidate that was looked at and did not serve."""

    name: str
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {'; '.join(self.reasons)}"


class NoCandidate(ValueError):
    """Every candidate of a role was refused."""

    def __init__(self, role: str, refusals: Sequence[Refusal]) -> None:
        self.role, self.refusals = role, tuple(refusals)
        super().__init__(f"{role}: nothing serves ({', '.join(map(str, refusals))})")


class RequirementUnmet(ValueError):
    """Something that was required was not chosen; carries all reasons, of all requirements."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        self.refusals = tuple(refusals)
        super().__init__(f"required but not available: {', '.join(map(str, refusals))}")


@dataclass(frozen=True)
class Choice(Generic[F, T]):
    """The pick for a role with its trace.

    refusals: the candidates that stood before the pick, in the order in which they were looked at.
    note: anything the reader must know about the pick itself.
    """

    role: str
    candidate: Candidate[F, T]
    refusals: tuple[Refusal, ...] = ()
    note: str = ""

    @property
    def name(self) -> str:
        return self.candidate.name

    def __str__(self) -> str:
        """One line: `attention: sdpa (sage: needs CUDA capability 8.0, found 7.5)`."""
        remarks = [*map(str, self.refusals), *([self.note] if self.note else [])]
        return f"{self.role}: {self.name}" + (f" ({', '.join(remarks)})" if remarks else "")

    def to_json(self) -> dict[str, Json]:
        return {
            "chosen": self.name,
            "tolerance": self.candidate.tolerance,
            "refused": [{"name": r.name, "reasons": list(r.reasons)} for r in self.refusals],
            "note": self.note,
        }


def choose(role: str, candidates: Iterable[Candidate[F, T]], facts: F) -> Choice[F, T]:
    """Return the first candidate that has no reason against it.

    Raises NoCandidate with every reason when all have one.
    """
    refusals: list[Refusal] = []
    for candidate in candidates:
        reasons = candidate.why_not(facts)
        if not reasons:
            return Choice(role, candidate, tuple(refusals))
        refusals.append(Refusal(candidate.name, reasons))
    raise NoCandidate(role, refusals)


def demote(choice: Choice[F, T], to: Candidate[F, T], reason: str) -> Choice[F, T]:
    """The choice after its pick failed in use: `to` serves, and the trace says why."""
    refusals = (*choice.refusals, Refusal(choice.name, (reason,)))
    return Choice(choice.role, to, refusals, choice.note)
