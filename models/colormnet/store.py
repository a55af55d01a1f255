"""Tensors of memory elements in one growing buffer per kind: append, drop, count; no policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

LIFE = 1e-7  # what an element's life starts from, so that an unread element's usage is 0


@dataclass(frozen=True)
class Elements:
    """N memory elements, float32 but for the values.

    key: (N, 64). shrinkage: (N,), at least 1. selection: (N, 64), in 0..1, used as queries when
    memory is compressed. value: (N, 1024), a before b. trust: (N,), 0..1, how far the exemplars
    explain the element's colors.
    """

    key: Tensor
    shrinkage: Tensor
    selection: Tensor
    value: Tensor
    trust: Tensor

    def __len__(self) -> int:
        return len(self.key)

    def keep(self, rows: Tensor) -> Elements:
        """The elements of these rows; rows: (M,) indices or (N,) booleans."""
        return Elements(**{f.name: getattr(self, f.name)[rows] for f in fields(Elements)})


class Store:
    """Elements in order of arrival, with how much each was read (use) and could be (life)."""

    NAMES = (*(f.name for f in fields(Elements)), "use", "life")

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, name: str) -> Tensor:
        """A view of all elements' key, shrinkage, selection, value, trust, use or life."""
        return self._buffers[name][: self._count]

    def append(self, elements: Elements) -> None:
        """Put elements at the end, unread."""
        start, stop = self._count, self._count + len(elements)
        fresh = {f.name: getattr(elements, f.name) for f in fields(Elements)}
        fresh["use"] = torch.zeros_like(elements.shrinkage)
        fresh["life"] = torch.full_like(elements.shrinkage, LIFE)
        self._reserve(stop, fresh)
        for name, rows in fresh.items():
            self._buffers[name][start:stop] = rows
        self._count = stop

    def elements(self, start: int, stop: int) -> Elements:
        """Copies of the elements start..stop - 1."""
        rows = {f.name: self[f.name][start:stop].clone() for f in fields(Elements)}
        return Elements(**rows)

    def drop(self, start: int, stop: int) -> None:
        """Remove the elements start..stop - 1; those behind move up, in order."""
        count = self._count - (stop - start)
        for name, buffer in self._buffers.items():
            buffer[start:count] = self[name][stop:].clone()
        self._count = count

    def keep(self, rows: Tensor) -> None:
        """Keep the elements whose entry in rows, (N,) booleans, is true; in order."""
        count = int(rows.sum())
        for name, buffer in self._buffers.items():
            buffer[:count] = self[name][rows]
        self._count = count

    def clear(self) -> None:
        """Remove everything and free the buffers."""
        self._buffers, self._count = {}, 0

    def tensors(self) -> dict[str, Tensor]:
        """Copies of all elements by name; empty when there are none."""
        return {name: self[name].clone() for name in self._buffers} if self._count else {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what tensors() gave. Raises ValueError when a name is missing."""
        self.clear()
        if not tensors:
            return
        missing = sorted(set(Store.NAMES) - tensors.keys())
        if missing:
            raise ValueError(f"memory state: missing {missing}")
        self._buffers = {name: tensors[name].clone() for name in Store.NAMES}
        self._count = len(tensors["key"])

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers, spare room included."""
        return sum(b.nbytes for b in self._buffers.values())

    def _reserve(self, rows: int, like: Mapping[str, Tensor]) -> None:
        room = len(self._buffers["key"]) if self._buffers else 0
        if rows <= room:
            return
        room = max(rows, room + room // 2)
        for name, tensor in like.items():
            buffer = tensor.new_empty((room, *tensor.shape[1:]))
            if self._count:
                buffer[: self._count] = self[name]
            self._buffers[name] = buffer
