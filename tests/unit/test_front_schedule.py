"""Fair time between clients, classes in order, and nobody starves."""

from __future__ import annotations

from dataclasses import dataclass

from bridge_server.front.schedule import BATCH, BATCH_FLOOR, INTERACTIVE, REVIEW, Scheduler


@dataclass
class Claim:
    id: bytes
    priority: int = BATCH
    user: str = "anna"


def run(scheduler: Scheduler, waiting: list[Claim], cost: dict[bytes, float], turns: int):
    """Frames that each claim got when all always have one waiting."""
    got = dict.fromkeys((claim.id for claim in waiting), 0)
    for _ in range(turns):
        chosen = scheduler.choose(waiting)
        assert chosen is not None
        scheduler.charge(chosen, cost[chosen.id])
        got[chosen.id] += 1
    return got


def admitted(*claims: Claim) -> Scheduler:
    scheduler = Scheduler()
    for claim in claims:
        scheduler.admit(claim)
    return scheduler


def test_nobody_waiting_chooses_nobody():
    assert Scheduler().choose([]) is None


def test_time_not_frames_is_shared_within_a_user():
    small, large = Claim(b"small"), Claim(b"large")
    got = run(admitted(small, large), [small, large], {b"small": 0.1, b"large": 0.4}, 500)
    assert abs(got[b"small"] / got[b"large"] - 4) < 0.3


def test_users_share_before_their_sessions_do():
    claims = [Claim(b"a1"), Claim(b"a2"), Claim(b"a3"), Claim(b"b1", user="ben")]
    got = run(admitted(*claims), claims, dict.fromkeys((c.id for c in claims), 0.1), 600)
    assert abs(got[b"b1"] - 300) <= 2
    assert max(got[b"a1"], got[b"a2"], got[b"a3"]) - min(got[b"a1"], got[b"a2"], got[b"a3"]) <= 1


def test_interactive_goes_first_and_batch_keeps_its_floor():
    batch, now = Claim(b"batch"), Claim(b"now", INTERACTIVE, "ben")
    got = run(admitted(batch, now), [batch, now], {b"batch": 0.1, b"now": 0.1}, 1000)
    share = got[b"batch"] / 1000
    assert BATCH_FLOOR - 0.02 < share < BATCH_FLOOR + 0.05


def test_review_stands_between_interactive_and_batch():
    claims = [Claim(b"r", REVIEW), Claim(b"i", INTERACTIVE)]
    assert admitted(*claims).choose(claims).id == b"i"
    assert admitted(claims[0]).choose([claims[0], Claim(b"b")]).id == b"r"


def test_a_newcomer_neither_waits_for_the_past_nor_takes_all():
    old = Claim(b"old")
    scheduler = admitted(old)
    run(scheduler, [old], {b"old": 1.0}, 100)
    new = Claim(b"new")
    scheduler.admit(new)
    got = run(scheduler, [old, new], {b"old": 1.0, b"new": 1.0}, 20)
    assert got == {b"old": 10, b"new": 10}


def test_a_user_who_comes_back_starts_level():
    anna, ben = Claim(b"a"), Claim(b"b", user="ben")
    scheduler = admitted(anna, ben)
    run(scheduler, [ben], {b"b": 1.0}, 50)
    scheduler.dismiss(anna, last_of_user=True)
    again = Claim(b"a2")
    scheduler.admit(again)
    got = run(scheduler, [again, ben], {b"a2": 1.0, b"b": 1.0}, 20)
    assert got == {b"a2": 10, b"b": 10}
