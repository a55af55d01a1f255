"""Keeps freed memory in a process, where getting the same pages anew would cost time.

glibc hands a large block back to the system as soon as it is freed. Frames and, on a CPU, a
network's layers free and ask for the same large blocks all the time, and the system then clears and
maps every page of each again. Values do not change; what a process holds stays near its peak until
give_back().
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from accel.choice import Candidate, Choice, choose

if TYPE_CHECKING:  # that module gives memory back by this one
    from accel.device import Facts

log = logging.getLogger(__name__)

# mallopt's parameters, malloc.h: never trim, no block of its own mapping, one arena for all threads
SETTINGS = ((-1, -1), (-4, 0), (-8, 1))


def choose_heap(facts: Facts) -> Choice[Facts, Callable[[], None]]:
    """Building the pick changes this process, once and for all of its networks."""
    return choose("heap", [KEPT, SYSTEM], facts)


def apply(facts: Facts) -> None:
    """Set this process's heap as chosen, before a network is loaded; a refusal is logged."""
    choice = choose_heap(facts)
    try:
        choice.candidate.build(facts)()
    except (OSError, AttributeError) as error:
        log.warning("heap: system (%s: %s)", choice.name, error)


def keep() -> None:
    """Let freed memory stay here. Raises OSError where glibc refuses, AttributeError elsewhere."""
    libc = ctypes.CDLL(None)
    for parameter, value in SETTINGS:
        if not libc.mallopt(parameter, value):
            raise OSError(f"mallopt {parameter}: expected {value} to be taken, it was refused")


def give_back() -> None:
    """Return freed memory to the system now; does nothing where that is not glibc's to do."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _why_not(facts: Facts) -> tuple[str, ...]:
    if facts.allocator != "glibc":
        return (f"this process allocates with {facts.allocator or 'another library'}, not glibc",)
    return ()


KEPT: Candidate[Facts, Callable[[], None]] = Candidate("kept", _why_not, lambda _: keep)
SYSTEM: Candidate[Facts, Callable[[], None]] = Candidate(
    "system", lambda _: (), lambda _: lambda: None
)
