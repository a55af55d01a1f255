"""Tensors computed from parameters once, and again when the parameters change."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from torch import Tensor


class Derived:
    """A small cache of regrouped weights and position tables, outside of the state dict."""

    def __init__(self, limit: int = 8) -> None:
        self._limit = limit
        self._kept: dict[Hashable, tuple[Hashable, Tensor]] = {}

    def get(self, key: Hashable, sources: tuple[Tensor, ...], make: Callable[[], Tensor]) -> Tensor:
        """make() for this key, reused until one of sources was written to, moved or cast."""
        stamp = tuple(
            (s.data_ptr(), s.dtype, s.device, 0 if s.is_inference() else s._version)
            for s in sources
        )
        kept = self._kept.pop(key, None)
        if kept is None or kept[0] != stamp:
            kept = (stamp, make())
        self._kept[key] = kept  # last in, last to leave
        while len(self._kept) > self._limit:
            del self._kept[next(iter(self._kept))]
        return kept[1]
