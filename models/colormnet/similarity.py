"""Similarity of pixels and memory elements, and the few best elements of every pixel.

    S(j, i) = - s_j / 8 * sum_c e_ic (k_jc - k_ic)^2

with key k, shrinkage s of the element, selection e of the pixel, and 8 the root of the key's width.
Expanded it is one product of two matrices, so that the differences are never held.
"""

from __future__ import annotations

import torch
from torch import Tensor

GROUP = 32  # memory elements whose best one stands for them in the first round of the search


def element_rows(key: Tensor, shrinkage: Tensor) -> Tensor:
    """key: (N, C). shrinkage: (N,). Returns the element's side of the product, (N, 2C + 1)."""
    weight = (shrinkage * key.shape[1] ** -0.5)[:, None]
    return torch.cat((-key * key * weight, 2.0 * key * weight, -weight), 1)


def pixel_rows(key: Tensor, selection: Tensor | None) -> Tensor:
    """key, selection: (n, C). Returns the pixel's side of the product, (n, 2C + 1).

    Without a selection upstream leaves the pixel's own square out; it cancels in a softmax only
    where all shrinkages are equal, so it is left out here too.
    """
    if selection is None:
        return torch.cat((torch.ones_like(key), key, key.new_zeros(len(key), 1)), 1)
    weighed = key * selection
    return torch.cat((selection, weighed, (key * weighed).sum(1, keepdim=True)), 1)


def best(scores: Tensor, count: int, valid: int) -> tuple[Tensor, Tensor]:
    """The `count` greatest of every row, unordered.

    scores: (n, M), of which the first `valid` columns count; the others are overwritten with
    -infinity. Returns values and columns, (n, count) each. In a long row, the winners lie in the
    groups whose best element is among the `count` best of all groups, so only those are searched.
    """
    columns = scores.shape[1]
    groups = columns // GROUP
    if columns % GROUP or groups < 4 * count:
        found = scores[:, :valid].topk(count, 1, sorted=False)
        return found.values, found.indices
    scores[:, valid:] = float("-inf")
    leaders = scores.view(-1, GROUP, groups).amax(1)  # element g + groups * m is member m of g
    chosen = leaders.topk(count, 1, sorted=False).indices  # (n, count)
    members = torch.arange(GROUP, device=scores.device) * groups
    candidates = (chosen[:, :, None] + members).flatten(1)  # (n, count * GROUP)
    found = scores.gather(1, candidates).topk(count, 1, sorted=False)
    return found.values, candidates.gather(1, found.indices)
