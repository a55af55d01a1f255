"""Choices: the first candidate without a reason wins, and no reason is lost."""

from __future__ import annotations

import pytest

from accel.choice import (
    Candidate,
    Choice,
    NoCandidate,
    Refusal,
    RequirementUnmet,
    choose,
    demote,
)


def candidate(name: str, *reasons: str) -> Candidate[int, str]:
    return Candidate(name, lambda _: reasons, lambda facts: f"{name} built for {facts}")


def test_the_first_candidate_without_a_reason_wins() -> None:
    choice = choose("role", [candidate("a", "no"), candidate("b"), candidate("c")], 7)
    assert choice.name == "b"
    assert choice.candidate.build(7) == "b built for 7"


def test_the_trace_holds_every_reason_of_every_candidate_before_the_pick() -> None:
    choice = choose("role", [candidate("a", "no", "never"), candidate("b")], 7)
    assert choice.refusals == (Refusal("a", ("no", "never")),)
    assert str(choice) == "role: b (a: no; never)"
    assert choice.to_json()["refused"] == [{"name": "a", "reasons": ["no", "never"]}]


def test_candidates_after_the_pick_are_never_asked() -> None:
    def fail(_: int) -> tuple[str, ...]:
        raise AssertionError("asked")

    assert choose("role", [candidate("a"), Candidate("b", fail, str)], 7).name == "a"


def test_when_all_refuse_the_error_names_all_reasons() -> None:
    with pytest.raises(NoCandidate, match=r"role: nothing serves \(a: no, b: never\)"):
        choose("role", [candidate("a", "no"), candidate("b", "never")], 7)


def test_a_pick_that_failed_in_use_moves_into_the_trace() -> None:
    first: Choice[int, str] = choose("role", [candidate("a")], 7)
    second = demote(first, candidate("b"), "it crashed")
    assert str(second) == "role: b (a: it crashed)"


def test_an_unmet_requirement_is_a_value_error_with_all_refusals() -> None:
    error = RequirementUnmet([Refusal("a", ("no",)), Refusal("b", ("never",))])
    assert isinstance(error, ValueError)
    assert "a: no, b: never" in str(error)
    assert len(error.refusals) == 2
