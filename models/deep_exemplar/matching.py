"""Nearest neighbor between unit vectors in blocks of rows, so that no n x n matrix ever exists.

The official softmax at temperature 1e-10 is a hard match: float32 cannot hold two cosines that are
close enough to share its weight, unless they are equal. So each row's maximum is taken, and the
colors of all columns that reach it exactly are averaged with equal weights, which is what the
softmax does with an exact tie. Final scores are always float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_MOST_ROWS = 512  # more rows a block do not run faster
_GROUP = 64  # columns that a CPU looks through at once; it reads slower than it takes maxima
_MOST_CANDIDATES = 32  # of a row, on average in a block, before scoring all in float32 is cheaper
_MOST_TIES = 2  # of a row, on average, or of its groups: their places take memory
_PAIRS = 1024  # vectors gathered and multiplied at once; more do not fit a processor's cache
_PLACE_BYTES = 64  # of a candidate: row and column, twice while chosen from, cosines, comparisons
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
    found = _room_for(theta, colors)
    rows = _rows_that_fit(workspace_bytes, phi.shape[1] * (4 + 1), theta.shape[0])
    block = _Block(phi, rows)
    for start, part in _blocks(theta, rows):
        scores = torch.mm(part, phi, out=block.scores(part.shape[0]))
        _put(found, start, _best_of(scores, block.marks(part.shape[0]), colors))
    return found


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
    long shortlists (flat pictures) are scored in float32 throughout, and so are all where phi in
    dtype would take more than half of the workspace.
    """
    if dtype not in _ROUNDING:
        raise ValueError(f"expected dtype bfloat16 or float16, got {dtype}")
    if phi.numel() * dtype.itemsize > workspace_bytes // 2:
        return nearest(theta, phi, colors, workspace_bytes=workspace_bytes)
    found = _room_for(theta, colors)
    low, columns = phi.to(dtype), phi.T
    pairs = phi.new_empty(2, _PAIRS, phi.shape[0])
    spent = low.nbytes + pairs.nbytes
    if phi.nbytes <= workspace_bytes // 4:  # a larger copy would cost more rows than it saves time
        columns = columns.contiguous()
        spent += columns.nbytes
    per_row = phi.shape[1] * (4 + 1) + _MOST_CANDIDATES * _PLACE_BYTES
    rows = _rows_that_fit(workspace_bytes - spent, per_row, theta.shape[0])
    block = _Block(phi, rows)
    for start, part in _blocks(theta, rows):
        count = part.shape[0]
        rough = torch.mm(part.to(dtype), low, out=block.scores(count, dtype))
        near = torch.ge(rough, _threshold(rough)[:, None], out=block.marks(count))
        # Counted before their places take memory; a sum would widen every mark to eight bytes.
        if int(torch.count_nonzero(near)) > _MOST_CANDIDATES * count:
            scores = torch.mm(part, phi, out=block.scores(count))
            _put(found, start, _best_of(scores, near, colors))
            continue
        row, column = near.nonzero(as_tuple=True)
        cosines = _cosines(part, columns, row, column, pairs)
        similarity = cosines.new_full((count,), -2.0)
        similarity.scatter_reduce_(0, row, cosines, "amax")
        best = cosines == similarity[row]
        _put(found, start, _averaged(similarity, row[best], column[best], colors))
    return found


def soft(
    theta: Tensor, phi: Tensor, colors: Tensor, *, workspace_bytes: int, temperature: float
) -> Match:
    """Colors averaged with softmax(scores / temperature); similarity and index of the best match.

    For comparison with the training's temperature (0.01); the hard match is the official one.
    """
    rows = _rows_that_fit(workspace_bytes, phi.shape[1] * (4 + 4), theta.shape[0])
    found = _room_for(theta, colors)
    for start, part in _blocks(theta, rows):
        scores = torch.mm(part, phi)
        similarity, index = scores.max(1)
        weights = torch.softmax(scores.div_(temperature), 1)
        _put(found, start, Match(similarity, weights @ colors, index))
    return found


class _Block:
    """The memory that all blocks of a call share: what is freed and taken again leaves gaps."""

    def __init__(self, phi: Tensor, rows: int) -> None:
        self._columns = phi.shape[1]
        self._scores = phi.new_empty(rows * self._columns)
        self._marks = torch.empty(rows * self._columns, dtype=torch.bool, device=phi.device)

    def scores(self, rows: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """(rows, m), uninitialized; all dtypes are laid over the same bytes."""
        used = self._scores.view(dtype)[: rows * self._columns]
        return used.view(rows, self._columns)

    def marks(self, rows: int) -> Tensor:
        """(rows, m) bool, uninitialized."""
        return self._marks[: rows * self._columns].view(rows, self._columns)


def _blocks(theta: Tensor, rows: int) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, theta.shape[0], rows):
        yield start, theta[start : start + rows]


def _room_for(theta: Tensor, colors: Tensor) -> Match:
    """The result of a call, taken first so that no block's share of it pins freed memory."""
    rows = theta.shape[0]
    return Match(
        theta.new_empty(rows),
        colors.new_empty(rows, colors.shape[1]),
        torch.empty(rows, dtype=torch.int64, device=theta.device),
    )


def _put(found: Match, start: int, part: Match) -> None:
    here = slice(start, start + part.index.shape[0])
    found.similarity[here] = part.similarity
    found.color[here] = part.color
    found.index[here] = part.index


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


def _cosines(part: Tensor, columns: Tensor, row: Tensor, column: Tensor, pairs: Tensor) -> Tensor:
    """(p,) float32: dot products of part[row] and columns[column]. pairs: (2, some, K), space."""
    cosines = part.new_empty(row.shape[0])
    for start in range(0, row.shape[0], pairs.shape[1]):
        here = slice(start, start + pairs.shape[1])
        left, right = pairs[:, : row[here].shape[0]]
        torch.index_select(part, 0, row[here], out=left)
        if columns.is_contiguous():
            torch.index_select(columns, 0, column[here], out=right)
        else:  # one row of phi after the other
            across = right.view(columns.shape[1], -1)
            right = torch.index_select(columns.T, 1, column[here], out=across).T
        torch.sum(left.mul_(right), 1, out=cosines[here])
    return cosines


def _best_of(scores: Tensor, marks: Tensor, colors: Tensor) -> Match:
    """scores: (r, m). The rows' maxima, with the colors of all columns that reach them.

    marks: (r, m) bool, space that may be written. Rows of a black picture tie everywhere; a block
    with many ties is halved until their places take little beside the scores.
    """
    rows, columns = scores.shape
    width = math.gcd(columns, _GROUP)
    grouped = width == _GROUP and scores.device.type == "cpu"
    groups = scores.view(rows, columns // width, width)
    best = groups.amax(2) if grouped else scores  # (r, groups): only few are then read once more
    similarity = best.amax(1)
    reached = torch.eq(best, similarity[:, None], out=marks[:, : best.shape[1]])
    if rows > 1 and int(torch.count_nonzero(reached)) > _MOST_TIES * rows:
        half = rows // 2
        first = _best_of(scores[:half], marks[:half], colors)
        second = _best_of(scores[half:], marks[half:], colors)
        return Match(
            torch.cat((first.similarity, second.similarity)),
            torch.cat((first.color, second.color)),
            torch.cat((first.index, second.index)),
        )
    row, column = reached.nonzero(as_tuple=True)
    if grouped:
        found, offset = (groups[row, column] == similarity[row, None]).nonzero(as_tuple=True)
        row, column = row[found], column[found] * width + offset
    return _averaged(similarity, row, column, colors)


def _averaged(similarity: Tensor, row: Tensor, column: Tensor, colors: Tensor) -> Match:
    """row, column: the places that reach the row's maximum, in row-major order."""
    rows = similarity.shape[0]
    if row.shape[0] == rows:  # no ties, so exactly one column a row
        return Match(similarity, colors[column], column)
    count = torch.bincount(row, minlength=rows)
    total = colors.new_zeros(rows, colors.shape[1]).index_add_(0, row, colors[column])
    first = torch.zeros_like(count).scatter_reduce_(0, row, column, "amin", include_self=False)
    return Match(similarity, total / count[:, None], first)
