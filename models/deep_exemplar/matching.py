"""Nearest neighbor between unit vectors in blocks of rows, so that no n x n matrix ever exists.

The official softmax at temperature 1e-10 is a hard match: float32 cannot hold two cosines that are
close enough to share its weight, unless they are equal. So the reference here takes each row's
maximum and averages the colors of all columns that reach it exactly, which is what the softmax does
with an exact tie. Scores are float32 and never rounded further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_MAX_ROWS = 512  # more rows a block do not run faster and cost memory


@dataclass(frozen=True)
class Match:
    """What each of n positions found.

    similarity: (n,) float32, cosine of the best match. color: (n, C), its color, ties averaged.
    index: (n,) int64, its column; the first one of a tie.
    """

    similarity: Tensor
    color: Tensor
    index: Tensor


class Matcher(Protocol):
    """Finds for each row of theta the best column of phi."""

    def __call__(
        self, theta: Tensor, phi: Tensor, colors: Tensor, *, workspace_bytes: int
    ) -> Match:
        """theta: (n, K), phi: (K, m), unit vectors, float32. colors: (m, C).

        workspace_bytes bounds what the call allocates beside its result (at least one row).
        """


def nearest(theta: Tensor, phi: Tensor, colors: Tensor, *, workspace_bytes: int) -> Match:
    """The reference matcher: float32 scores, exact maximum, ties averaged. See Matcher."""
    parts = []
    # A score, its mark in the comparison and, in the worst case of a tie everywhere, its place.
    for rows in torch.split(theta, _rows_that_fit(workspace_bytes, phi.shape[1], theta.shape[0])):
        parts.append(_best_of(torch.mm(rows, phi), colors))
    return _join(parts)


def soft(
    theta: Tensor, phi: Tensor, colors: Tensor, *, workspace_bytes: int, temperature: float
) -> Match:
    """Colors averaged with softmax(scores / temperature); similarity and index of the best match.

    For comparisons with the training's temperature (0.01); the hard match is the official one.
    """
    parts = []
    for rows in torch.split(
        theta, _rows_that_fit(workspace_bytes, 2 * phi.shape[1], theta.shape[0])
    ):
        scores = torch.mm(rows, phi)
        similarity, index = scores.max(1)
        weights = torch.softmax(scores.div_(temperature), 1)
        parts.append(Match(similarity, weights @ colors, index))
    return _join(parts)


def _rows_that_fit(workspace_bytes: int, columns: int, rows: int) -> int:
    return max(1, min(_MAX_ROWS, rows, workspace_bytes // (columns * 5)))


def _best_of(scores: Tensor, colors: Tensor) -> Match:
    """scores: (r, m). The rows' maxima, with the colors of all columns that reach them."""
    similarity = scores.amax(1)
    row, column = (scores == similarity[:, None]).nonzero(as_tuple=True)
    if row.shape[0] == scores.shape[0]:  # no ties, so exactly one column a row
        return Match(similarity, colors[column], column)
    total = colors.new_zeros(scores.shape[0], colors.shape[1]).index_add_(0, row, colors[column])
    count = torch.bincount(row, minlength=scores.shape[0])
    first = torch.full_like(count, scores.shape[1]).scatter_reduce_(0, row, column, "amin")
    return Match(similarity, total / count[:, None], first)


def _join(parts: list[Match]) -> Match:
    if len(parts) == 1:
        return parts[0]
    return Match(
        torch.cat([part.similarity for part in parts]),
        torch.cat([part.color for part in parts]),
        torch.cat([part.index for part in parts]),
    )
