"""Keeps freed memory in a process that computes on a CPU, where fresh pages cost time.

glibc hands a large block back to the system as soon as it is freed. A network frees and asks for
the same large blocks all the time, and the system then clears and maps every page of each again.
Values do not change; what a process holds stays near its peak until give_back().
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING

from accel.choice import Candidate, Choice, choose

if TYPE_CHECKING:  # a process that only decodes and encodes needs no torch for this
    from accel.device import Facts

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # mallopt's parameters, malloc.h
NEVER = -1


def choose_heap(facts: Facts) -> Choice[Facts, Callable[[], None]]:
    """Building the pick changes this process, once and for all of its networks."""
    return choose("heap", [KEPT, SYSTEM], facts)


def keep() -> None:
    """Let freed memory stay here. Raises OSError where glibc refuses, AttributeError elsewhere."""
    libc = ctypes.CDLL(None)
    for parameter, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, NEVER)):
        if not libc.mallopt(parameter, value):
            raise OSError(f"mallopt {parameter}: expected {value} to be taken, it was refused")


def give_back() -> None:
    """Return freed memory to the system now; does nothing where that is not glibc's to do."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _why_not(facts: Facts) -> tuple[str, ...]:
    if facts.kind != "cpu":
        return (f"this device is {facts.kind}, which has its own",)
    if facts.allocator != "glibc":
        return (f"this process allocates with {facts.allocator or 'another library'}, not glibc",)
    return ()


KEPT: Candidate[Facts, Callable[[], None]] = Candidate("kept", _why_not, lambda _: keep)
SYSTEM: Candidate[Facts, Callable[[], None]] = Candidate(
    "system", lambda _: (), lambda _: lambda: None
)
