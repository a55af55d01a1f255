"""The exemplars of a shot: names, which are near a frame, and their state; nothing is encoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from models.propagator import Exemplar, Json

from .plain import array, integer


class ExemplarSet:
    """Exemplars by name, in order of arrival. One is named by the frame it is pinned to."""

    def __init__(self) -> None:
        self._items: dict[str, Exemplar] = {}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, name: str) -> Exemplar:
        return self._items[name]

    def put(self, exemplar: Exemplar) -> str | None:
        """Add an exemplar or replace the one pinned to the same frame.

        Returns its name, or None when this very picture is held already (by digest).
        """
        if exemplar.index is not None:
            name = _pinned(exemplar.index)
            held = self._items.get(name)
            if held is not None and held.digest and held.digest == exemplar.digest:
                return None
        else:
            unpinned = (e.digest for e in self._items.values() if e.index is None)
            if exemplar.digest and exemplar.digest in unpinned:
                return None
            name = f"#{self._serial}"
            self._serial += 1
        self._items[name] = exemplar
        return name

    def pin_only(self, index: int) -> None:
        """Pin the only exemplar to a frame, if there is one only and it belongs to no frame."""
        if len(self._items) == 1:
            (exemplar,) = self._items.values()
            if exemplar.index is None:
                self._items = {_pinned(index): replace(exemplar, index=index)}

    def pinned_to(self, index: int) -> str | None:
        """The name of the exemplar pinned to this frame, if any."""
        name = _pinned(index)
        return name if name in self._items else None

    def nearest(self, index: int, limit: int) -> list[str]:
        """At most `limit` names: those pinned to no frame first, then by distance to this one."""

        def distance(name: str) -> int:
            pinned = self._items[name].index
            return -1 if pinned is None else abs(pinned - index)

        chosen = set(sorted(self._items, key=distance)[:limit])
        return [name for name in self._items if name in chosen]

    def tensors(self) -> dict[str, Tensor]:
        """Copies of all planes, by dotted name."""
        out: dict[str, Tensor] = {}
        for number, exemplar in enumerate(self._items.values()):
            out[f"{number}.luma"] = exemplar.luma.clone()
            out[f"{number}.chroma"] = exemplar.chroma.clone()
            if exemplar.valid is not None:
                out[f"{number}.valid"] = exemplar.valid.clone()
        return out

    def values(self) -> dict[str, Json]:
        """What tensors() needs beside it."""
        items: list[Json] = [[n, e.index, e.digest] for n, e in self._items.items()]
        return {"items": items, "serial": self._serial}

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Json]) -> None:
        """Take over what tensors() and values() gave. Raises ValueError when they do not fit."""
        items, self._serial = array(values, "items"), integer(values, "serial")
        self._items = {}
        for number, item in enumerate(items):
            if not isinstance(item, list) or len(item) != 3 or f"{number}.luma" not in tensors:
                raise ValueError(f"exemplar state: item {number} is incomplete")
            name, index, digest = item
            self._items[str(name)] = Exemplar(
                luma=tensors[f"{number}.luma"].clone(),
                chroma=tensors[f"{number}.chroma"].clone(),
                index=index if isinstance(index, int) else None,
                valid=tensors.get(f"{number}.valid"),
                digest=str(digest),
            )

    @property
    def nbytes(self) -> int:
        """Bytes of all planes held."""
        return sum(
            t.nbytes
            for e in self._items.values()
            for t in (e.luma, e.chroma, e.valid)
            if t is not None
        )


def _pinned(index: int) -> str:
    return f"@{index}"
