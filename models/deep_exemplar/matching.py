"""Nearest neighbor between unit vectors in blocks of rows, so that no n x n matrix ever exists.

The official softmax at temperature 1e-10 is a hard match: float32 cannot hold two cosines that are
close enough to share its weight, unless they are equal. So each row's maximum is taken, and the
colors of all columns that reach it exactly are averaged with equal weights, which is what the
softmax does with an exact tie. Final scores are always float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_MOST_ROWS = 512  # more rows a block do not run faster
_GROUP = 64  # columns that a CPU looks through at once; it reads slower than it takes maxima
_MOST_CANDIDATES = 32  # of a row, on average in a block, before scoring all in float32 is cheaper
_ROUNDING = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}  # half a last digit, relative


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

        workspace_bytes bounds what the call allocates beside its result; one row is the least.
        """


def nearest(theta: Tensor, phi: Tensor, colors: Tensor, *, workspace_bytes: int) -> Match:
    """The reference: all scores in float32. See Matcher."""
    rows = _rows_that_fit(workspace_bytes, phi.shape[1] * (4 + 1), theta.shape[0])
    return _join([_best_of(torch.mm(part, phi), colors) for part in torch.split(theta, rows)])


def shortlisted(
    theta: Tensor,
    phi: Tensor,
    colors: Tensor,
    *,
    workspace_bytes: int,
    dtype: torch.dtype = torch.bfloat16,
) -> Match:
    """Scores in dtype make a shortlist, float32 scores decide. See Matcher.

    The shortlist holds every column whose rounded score is within twice the greatest possible
    rounding error of the row's best, so the float32 winner is always on it: the match can differ
    from the reference's only where two float32 scores differ by their own last digits. Blocks with
    long shortlists (flat pictures) are scored in float32 throughout.
    """
    if dtype not in _ROUNDING:
        raise ValueError(f"expected dtype bfloat16 or float16, got {dtype}")
    low, columns = phi.to(dtype), phi.T.contiguous()
    spent = low.nbytes + columns.nbytes
    per_row = phi.shape[1] * (4 + 1) + _MOST_CANDIDATES * phi.shape[0] * 12
    rows = _rows_that_fit(workspace_bytes - spent, per_row, theta.shape[0])
    parts = []
    for part in torch.split(theta, rows):
        rough = torch.mm(part.to(dtype), low)
        near = rough >= _threshold(rough)[:, None]
        if int(near.sum()) > _MOST_CANDIDATES * part.shape[0]:  # before their places take memory
            del rough, near
            parts.append(_best_of(torch.mm(part, phi), colors))
            continue
        row, column = near.nonzero(as_tuple=True)
        scores = (part[row] * columns[column]).sum(1)
        similarity = scores.new_full((part.shape[0],), -2.0)
        similarity.scatter_reduce_(0, row, scores, "amax")
        best = scores == similarity[row]
        parts.append(_averaged(similarity, row[best], column[best], colors))
    return _join(parts)


def soft(
    theta: Tensor, phi: Tensor, colors: Tensor, *, workspace_bytes: int, temperature: float
) -> Match:
    """Colors averaged with softmax(scores / temperature); similarity and index of the best match.

    For comparison with the training's temperature (0.01); the hard match is the official one.
    """
    rows = _rows_that_fit(workspace_bytes, phi.shape[1] * (4 + 4), theta.shape[0])
    parts = []
    for part in torch.split(theta, rows):
        scores = torch.mm(part, phi)
        similarity, index = scores.max(1)
        weights = torch.softmax(scores.div_(temperature), 1)
        parts.append(Match(similarity, weights @ colors, index))
    return _join(parts)


def _rows_that_fit(workspace_bytes: int, bytes_per_row: int, rows: int) -> int:
    return max(1, min(_MOST_ROWS, rows, workspace_bytes // bytes_per_row))


def _threshold(rough: Tensor) -> Tensor:
    """rough: (r, m) rounded scores. Returns (r,): what the best column's cannot be below.

    Both factors are off by at most u relative and the vectors have unit length, so a product is off
    by at most 2 u + u^2 (Cauchy-Schwarz), and by u of itself where it was rounded; float32 sums add
    far less than the spare u here. One u of the threshold covers its own rounding.
    """
    u = _ROUNDING[rough.dtype]
    best = rough.amax(1).float()
    return (best - 2 * (3 * u + u * best.abs()) - u * best.abs()).to(rough.dtype)


def _best_of(scores: Tensor, colors: Tensor) -> Match:
    """scores: (r, m). The rows' maxima, with the colors of all columns that reach them."""
    rows, columns = scores.shape
    width = math.gcd(columns, _GROUP)
    if width < _GROUP or scores.device.type != "cpu":
        similarity = scores.amax(1)
        row, column = (scores == similarity[:, None]).nonzero(as_tuple=True)
        return _averaged(similarity, row, column, colors)
    groups = scores.view(rows, columns // width, width)
    best = groups.amax(2)  # (r, groups): only few groups are then read once more
    similarity = best.amax(1)
    in_row, group = (best == similarity[:, None]).nonzero(as_tuple=True)
    found, offset = (groups[in_row, group] == similarity[in_row, None]).nonzero(as_tuple=True)
    return _averaged(similarity, in_row[found], group[found] * width + offset, colors)


def _averaged(similarity: Tensor, row: Tensor, column: Tensor, colors: Tensor) -> Match:
    """row, column: the places that reach the row's maximum, in row-major order."""
    rows = similarity.shape[0]
    if row.shape[0] == rows:  # no ties, so exactly one column a row
        return Match(similarity, colors[column], column)
    count = torch.bincount(row, minlength=rows)
    total = colors.new_zeros(rows, colors.shape[1]).index_add_(0, row, colors[column])
    first = torch.zeros_like(count).scatter_reduce_(0, row, column, "amin", include_self=False)
    return Match(similarity, total / count[:, None], first)


def _join(parts: list[Match]) -> Match:
    if len(parts) == 1:
        return parts[0]
    return Match(
        torch.cat([part.similarity for part in parts]),
        torch.cat([part.color for part in parts]),
        torch.cat([part.index for part in parts]),
    )
