"""Whose frame runs next: interactive before review before batch, and within a class fair time.

Time is what the device really spent, not frames, so that a large picture pays for its size. Batch
keeps a floor of the device's time and so never starves. The quantum is one frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

INTERACTIVE, REVIEW, BATCH = 0, 1, 2
BATCH_FLOOR = 0.15
#: older device time counts for less: halved each time this much more was spent
MEMORY_S = 60.0


class Claimant(Protocol):
    """What the scheduler asks of a session that has a frame waiting."""

    id: bytes
    priority: int
    user: str


class Scheduler:
    """Remembers device time by class, user and session."""

    def __init__(self) -> None:
        self._by_class = {INTERACTIVE: 0.0, REVIEW: 0.0, BATCH: 0.0}
        self._by_user: dict[str, float] = {}
        self._by_session: dict[bytes, float] = {}

    def choose(self, waiting: Iterable[Claimant]) -> Claimant | None:
        """The session whose frame runs next, or None when none waits."""
        claimants = list(waiting)
        if not claimants:
            return None
        chosen_class = self._class(claimants)
        rivals = [c for c in claimants if c.priority == chosen_class]
        return min(
            rivals,
            key=lambda c: (self._by_user.get(c.user, 0.0), self._by_session.get(c.id, 0.0), c.id),
        )

    def admit(self, claimant: Claimant) -> None:
        """A new session starts level with the least served one, and so starves nobody."""
        users = [spent for user, spent in self._by_user.items() if user != claimant.user]
        self._by_user.setdefault(claimant.user, min(users, default=0.0))
        self._by_session[claimant.id] = min(self._by_session.values(), default=0.0)

    def charge(self, claimant: Claimant, seconds: float) -> None:
        """Book the device time that a frame took."""
        self._by_class[claimant.priority] += seconds
        self._by_user[claimant.user] = self._by_user.get(claimant.user, 0.0) + seconds
        self._by_session[claimant.id] = self._by_session.get(claimant.id, 0.0) + seconds
        if sum(self._by_class.values()) > MEMORY_S:
            self._by_class = {key: spent / 2 for key, spent in self._by_class.items()}

    def dismiss(self, claimant: Claimant, *, last_of_user: bool) -> None:
        """Forget a session that ended, and its user when nothing else of theirs is open."""
        self._by_session.pop(claimant.id, None)
        if last_of_user:
            self._by_user.pop(claimant.user, None)

    def _class(self, claimants: list[Claimant]) -> int:
        best = min(c.priority for c in claimants)
        batch_waits = any(c.priority == BATCH for c in claimants)
        total = sum(self._by_class.values())
        starving = total > 0 and self._by_class[BATCH] / total < BATCH_FLOOR
        return BATCH if batch_waits and starving else best
