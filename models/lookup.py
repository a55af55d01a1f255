"""The baseline: every luma gets the mean chroma that the exemplars have at that luma.

Knows nothing of shapes or motion. It is the lowest row of the quality benchmark and the quick
stand-in of service tests; it is not offered to users.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from models.propagator import Exemplar, Json, State, Step

BINS = 101  # one for each whole L in [0, 100]
SMOOTHING = 3.0  # bins


class LookupPropagator:
    """See models.propagator.Propagator; carries nothing from frame to frame but its table."""

    def __init__(self) -> None:
        self._exemplars: list[Exemplar] = []
        self._table = torch.zeros(0)
        self._known = torch.zeros(0)

    def begin(self, exemplars: Sequence[Exemplar]) -> None:
        if not exemplars:
            raise ValueError("expected at least one exemplar, got none")
        self._exemplars = list(exemplars)
        self._learn()

    def put_exemplar(self, exemplar: Exemplar) -> None:
        kept = [e for e in self._exemplars if e.index is None or e.index != exemplar.index]
        self._exemplars = [*kept, exemplar]
        self._learn()

    def step(self, luma: Tensor, *, index: int, want_confidence: bool = False) -> Step:
        if not self._exemplars:
            raise ValueError("expected begin() before step(), got no exemplar")
        position = luma.clamp(0, BINS - 1)
        low = position.floor().long().clamp(max=BINS - 2)
        share = position - low
        chroma = self._at(self._table, low) * (1 - share) + self._at(self._table, low + 1) * share
        confidence = self._at(self._known, low) if want_confidence else None
        return Step(chroma, confidence)

    def reset(self) -> None:
        """Nothing is carried between frames."""

    def save_state(self) -> State:
        tensors: dict[str, Tensor] = {}
        pins: list[Json] = []
        for number, exemplar in enumerate(self._exemplars):
            tensors[f"{number}.luma"] = exemplar.luma.clone()
            tensors[f"{number}.chroma"] = exemplar.chroma.clone()
            if exemplar.valid is not None:
                tensors[f"{number}.valid"] = exemplar.valid.clone()
            pins.append([exemplar.index, exemplar.digest])
        return State(tensors, {"pins": pins})

    def load_state(self, state: State) -> None:
        pins: Any = state.values["pins"]
        self._exemplars = [
            Exemplar(
                state.tensors[f"{number}.luma"],
                state.tensors[f"{number}.chroma"],
                index,
                state.tensors.get(f"{number}.valid"),
                digest,
            )
            for number, (index, digest) in enumerate(pins)
        ]
        self._learn()

    @property
    def nbytes(self) -> int:
        return self._table.nbytes + self._known.nbytes

    def _learn(self) -> None:
        """table: (2, BINS) mean a and b, smoothed over neighbors; known: (1, BINS) in [0, 1]."""
        sums, counts = torch.zeros(2, BINS), torch.zeros(1, BINS)
        for exemplar in self._exemplars:
            bins = exemplar.luma.reshape(-1).round().clamp(0, BINS - 1).long()
            valid = torch.ones_like(bins, dtype=torch.float32)
            if exemplar.valid is not None:
                valid = exemplar.valid.reshape(-1).float()
            counts[0].index_add_(0, bins, valid)
            for plane in range(2):
                sums[plane].index_add_(0, bins, exemplar.chroma[0, plane].reshape(-1) * valid)
        distance = torch.arange(BINS).view(-1, 1) - torch.arange(BINS).view(1, -1)
        weight = torch.exp(-((distance / SMOOTHING) ** 2)) + 1e-12
        self._table = (sums @ weight) / (counts @ weight).clamp(min=1e-12)
        self._known = (counts > 0).float()

    @staticmethod
    def _at(table: Tensor, bins: Tensor) -> Tensor:
        """table: (C, BINS); bins: (1, 1, H, W). Returns (1, C, H, W)."""
        height, width = bins.shape[-2:]
        return table[:, bins.reshape(-1)].view(1, -1, height, width)
