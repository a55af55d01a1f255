"""Whether endFrame counts: Blackmagic's example reads inclusive, Resolve 21 measured exclusive.

The first placement tries one and looks at the length; the answer holds for the session.
"""

from __future__ import annotations

from host_plugins.resolve_host.host import ResolveHost


def end_frames(host: ResolveHost, first: int, count: int) -> list[tuple[bool, int]]:
    """(inclusive, endFrame) in the order to try: what is known, or exclusive first."""
    both = [(False, first + count), (True, first + count - 1)]
    if host.memory.end_inclusive:
        both.reverse()
    return both
