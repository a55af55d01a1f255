"""What the network is taught by: colors, and where each query token's match truly lies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.starter.matching import (
    FINE_VALUES,
    WINDOW,
    Memory,
    gather_windows,
    group_quarters,
)
from models.starter.network import Features, Prediction, Starter

UNSEEN_WEIGHT = 0.3  # of colors that no exemplar shows: they can only be guessed
GLOBAL_ROWS, FINE_ROWS = 1536, 1024


@dataclass(frozen=True)
class Batch:
    """Every picture of a sample is a query, with the sample's others as its exemplars.

    pictures: (P * B, 3, S, S), Lab, ordered by picture, then by sample. match: (P * B, K, S/4,
    S/4, 2), pixels in each exemplar, -1 where hidden; K = P - 1. known: (P * B,) whether it holds.
    """

    pictures: Tensor
    match: Tensor
    known: Tensor


def forward(
    network: Starter, batch: Batch, decoded: slice = slice(None)
) -> tuple[Prediction, Features, Memory, Tensor]:
    """Predict pictures from the others; `decoded` says which.

    Returns the predictions of those, features and memory of all, and the true chroma / 50 of all.
    """
    count = batch.match.shape[1] + 1
    luma, chroma = batch.pictures[:, :1], batch.pictures[:, 1:] / 50
    features = network.encode(luma)
    own = network.memorize(features, luma, chroma)
    others = []
    for tensor in (own.keys, own.values, own.windows):
        of = tensor.chunk(count)
        others.append(
            torch.cat([torch.cat([of[k] for k in range(count) if k != p], 1) for p in range(count)])
        )
    memory = Memory(*others)
    prediction = network.read(
        luma[decoded],
        Features(*(x[decoded] for x in vars(features).values())),
        Memory(*(x[decoded] for x in others)),
    )
    return prediction, features, memory, chroma


def loss_of(
    network: Starter, batch: Batch, *, generator: torch.Generator, visible: bool = False
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum and its parts. Colors are decoded of half of the pictures: the decoder
    learns sooner than the keys do, whose matches are taught with all.

    visible: measure the final colors' error as it is seen, not in a and b.
    """
    half = slice(int(torch.randint(2, (1,), generator=generator)), None, 2)
    prediction, features, memory, truth = forward(network, batch, half)
    truth = truth[half]
    seen = (batch.match[..., 0] >= 0).any(1).float() + (~batch.known).float()[:, None, None]
    seen = seen[half]
    weight = UNSEEN_WEIGHT + (1 - UNSEEN_WEIGHT) * seen[:, None].clamp(max=1)  # (B, 1, S/4, S/4)
    quarter, eighth = F.avg_pool2d(truth, 4), F.avg_pool2d(truth, 8)
    full = F.interpolate(weight, scale_factor=4.0)
    huber = _visible_huber if visible else _huber
    parts = {
        "color": huber(prediction.chroma, truth, full),
        "quarter": huber(prediction.quarter, quarter, weight) * 0.3,
        "matched": _huber(prediction.matched, eighth, F.avg_pool2d(weight, 2)) * 0.5,
        "fine": _huber(prediction.fine, quarter, weight) * 0.3,
        "global_match": _global_match(network, features, memory, batch, generator) * 0.06,
        "fine_match": _fine_match(network, features, memory, batch, generator) * 0.04,
    }
    total = torch.stack(list(parts.values())).sum()
    return total, {name: float(value.detach()) for name, value in parts.items()}


@torch.no_grad()
def hit_rate(features: Features, memory: Memory, batch: Batch) -> Tensor:
    """Share of visible query tokens whose best match lies within a token of the true one."""
    side = batch.pictures.shape[-1] // 8
    target, valid = _coarse_targets(batch)  # (B, K, N, 2)
    best = (features.key_8.float() @ memory.keys.float().transpose(1, 2)).argmax(-1)  # (B, N)
    exemplar, token = best // side**2, best % side**2
    at = torch.stack((token % side, token // side), -1).float()
    pick = exemplar[:, None, :, None].expand(-1, 1, -1, 2)
    true = torch.gather(target, 1, pick)[:, 0]
    visible = valid.any(1)
    hit = ((at - true).abs().amax(-1) <= 1.0) & torch.gather(valid, 1, pick[..., 0])[:, 0]
    return hit[visible].float().mean()


def _huber(predicted: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    loss = F.smooth_l1_loss(predicted.float(), truth, beta=0.1, reduction="none")
    return (loss * weight).sum() / (weight.sum() * predicted.shape[1])


def _visible_huber(predicted: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Differences of chroma and hue by their tolerances, 1 + 0.045 C and 1 + 0.015 C (CIE94).

    An error of one size is seen on gray and not on a strong color.
    """
    difference = predicted.float() - truth
    shifted = truth + truth.new_tensor((1e-3, 0.0)).view(1, 2, 1, 1)  # gray has no hue
    length = torch.linalg.vector_norm(shifted, dim=1, keepdim=True).clamp(min=1e-4)
    along = shifted / length
    chroma = torch.linalg.vector_norm(truth, dim=1, keepdim=True) * 50
    radial = (difference * along).sum(1, keepdim=True) / (1 + 0.045 * chroma)
    across = difference[:, :1] * along[:, 1:] - difference[:, 1:] * along[:, :1]
    seen = torch.cat((radial, across / (1 + 0.015 * chroma)), 1)
    loss = F.smooth_l1_loss(seen, torch.zeros_like(seen), beta=0.04, reduction="none")
    return (loss * weight).sum() / (weight.sum() * 2)


def _coarse_targets(batch: Batch) -> tuple[Tensor, Tensor]:
    """Matches of 1/8 tokens, in 1/8 tokens: (B, K, N, 2), and where they hold: (B, K, N)."""
    match = batch.match
    quads = torch.stack([match[:, :, y::2, x::2] for y in (0, 1) for x in (0, 1)], -2)
    mean = quads.mean(-2).flatten(2, 3)
    spread = (quads.amax(-2) - quads.amin(-2)).amax(-1).flatten(2, 3)
    valid = (quads[..., 0] >= 0).all(-1).flatten(2, 3) & (spread < 16)
    return (mean - 3.5) / 8, valid & batch.known[:, None, None]


def _corners(at: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Four bilinear neighbors of points on a side x side grid: indices and weights, (n, 4)."""
    at = at.clamp(0, side - 1)
    low = at.floor().clamp(max=side - 2)
    part = at - low
    x, y = low.long().unbind(-1)
    fx, fy = part.unbind(-1)
    index = torch.stack(
        (y * side + x, y * side + x + 1, (y + 1) * side + x, (y + 1) * side + x + 1), -1
    )
    weight = torch.stack(((1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx), -1)
    return index, weight


def _some(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if len(rows) <= count:
        return rows
    return rows[torch.randperm(len(rows), generator=generator)[:count]]


def _global_match(
    network: Starter, features: Features, memory: Memory, batch: Batch, generator: torch.Generator
) -> Tensor:
    """Cross-entropy of the true matches; every exemplar token of the batch is a candidate."""
    side = batch.pictures.shape[-1] // 8
    tokens, per_sample = side * side, memory.keys.shape[1]
    target, valid = _coarse_targets(batch)
    rows = _some(valid.nonzero(), GLOBAL_ROWS, generator)  # (n, 3): sample, exemplar, token
    if len(rows) == 0:
        return memory.keys.new_zeros(())
    sample, exemplar, token = rows.unbind(-1)
    index, weight = _corners(target[sample, exemplar, token], side)
    index = index + (sample * per_sample + exemplar * tokens)[:, None]
    logits = features.key_8[sample, token] @ memory.keys.flatten(0, 1).t()
    logits = logits.float() * network.log_temperature_8.exp()
    # other exemplars of the sample may show the same thing: they are no negatives
    columns = torch.arange(logits.shape[1]) // tokens
    own = sample * (per_sample // tokens) + exemplar
    if per_sample > tokens:
        rival = (columns // (per_sample // tokens) == sample[:, None]) & (columns != own[:, None])
        logits = logits.masked_fill(rival, -1e4)
    picked = torch.gather(F.log_softmax(logits, -1), 1, index)
    return -(picked * weight).sum(-1).mean()


def _fine_match(
    network: Starter, features: Features, memory: Memory, batch: Batch, generator: torch.Generator
) -> Tensor:
    """Cross-entropy inside the window that holds the true match."""
    side = batch.pictures.shape[-1] // 8
    target, valid = _coarse_targets(batch)
    rows = _some(valid.nonzero(), FINE_ROWS, generator)
    if len(rows) == 0:
        return memory.keys.new_zeros(())
    sample, exemplar, token = rows.unbind(-1)
    center = target[sample, exemplar, token].round()
    jitter = torch.randint(-1, 2, center.shape, generator=generator)
    center = (center + jitter).clamp(0, side - 1)  # x, y of the window's 1/8 token
    best = exemplar * side**2 + (center[:, 1] * side + center[:, 0]).long()
    count = memory.windows.shape[1]
    flat = Memory(memory.keys, memory.values, memory.windows.flatten(0, 1)[None])
    windows = gather_windows(flat.windows, (sample * count + best)[None])[0, :, :, :-FINE_VALUES]
    query = group_quarters(features.key_4)[sample, token]  # (n, 4, 16)
    logits = (query @ windows.transpose(1, 2)).float() * network.log_temperature_4.exp()
    fine = batch.match[sample, exemplar]  # (n, S/4, S/4, 2)
    y, x = token // side * 2, token % side * 2
    row = torch.arange(len(rows))
    quads = torch.stack([fine[row, y + dy, x + dx] for dy in (0, 1) for dx in (0, 1)], 1)
    at = (quads - 1.5) / 4 - (center * 2 - (WINDOW - 2) // 2)[:, None]  # (n, 4, 2)
    inside = ((at >= 0) & (at <= WINDOW - 1)).all(-1)
    index, weight = _corners(at, WINDOW)
    picked = torch.gather(F.log_softmax(logits, -1), 2, index)
    loss = -(picked * weight).sum(-1)
    return (loss * inside).sum() / inside.sum().clamp(min=1)
