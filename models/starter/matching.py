"""Where each query token finds its color: the global and the fine read of the exemplars.

The global read looks at every exemplar token at 1/8; the fine read looks, at 1/4, around the best
one. Both return mean and variance of the colors they matched.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 6  # quarter-size tokens on a side of the fine read's window (3 tokens at 1/8)
FINE_VALUES = 4  # a, b, a * a, b * b
QUERY_CHUNK = 512
_LANES = 64


@dataclass(frozen=True)
class Memory:
    """What an exemplar, or several behind one another, offers to be matched.

    keys: (B, M, 64), unit length. values: (B, M, V). windows: (B, M, 36, 16 + 4), unit keys at
    1/4 around each token, then a, b and their squares.
    """

    keys: Tensor
    values: Tensor
    windows: Tensor


@dataclass(frozen=True)
class GlobalRead:
    """values: (B, N, V) mean of the matched values. best: (B, N) index of the best token.

    similarity: (B, N, 1), cosine of that best one.
    """

    values: Tensor
    best: Tensor
    similarity: Tensor


def read_global(query: Tensor, memory: Memory, temperature: Tensor | float) -> GlobalRead:
    """Softmax attention over all tokens, in chunks of queries.

    query: (B, N, 64), unit length. Sums are made in float32, whatever the keys are.
    """
    if not torch.is_grad_enabled():
        return _read_fast(query, memory, temperature)
    keys = memory.keys.transpose(1, 2)
    values, best, similarity = [], [], []
    for part in torch.split(query, QUERY_CHUNK, dim=1):
        cosine = part @ keys  # (B, n, M)
        peak, index = cosine.detach().max(-1, keepdim=True)
        weights = torch.exp((cosine - peak) * temperature)
        total = weights.sum(-1, keepdim=True).float()
        values.append((weights @ memory.values).float() / total)
        best.append(index[..., 0])
        similarity.append(peak.float())
    return GlobalRead(torch.cat(values, 1), torch.cat(best, 1), torch.cat(similarity, 1))


def _read_fast(query: Tensor, memory: Memory, temperature: Tensor | float) -> GlobalRead:
    """The same without gradients: passes over N x M, not products, are what it costs.

    One more channel makes the product temperature * (cosine - 1), which needs no other pass before
    exp and is rounded least where matches are best. exp of it fits float32 and bfloat16, which are
    the formats offered; float16 it would overflow or empty.
    """
    one = torch.ones_like(query[..., :1])
    query = torch.cat((query, one), -1) * temperature
    minus_one = -torch.ones_like(memory.keys[..., :1])
    keys = torch.cat((memory.keys, minus_one), -1).transpose(1, 2).contiguous()
    values, best, similarity = [], [], []
    for part in torch.split(query, QUERY_CHUNK, dim=1):
        logits = part @ keys  # (B, n, M)
        peak, index = _peak(logits)
        weights = logits.exp_()
        total = weights.sum(-1, keepdim=True).float()
        values.append((weights @ memory.values).float() / total)
        best.append(index)
        similarity.append(peak.float() / temperature + 1)
    return GlobalRead(torch.cat(values, 1), torch.cat(best, 1), torch.cat(similarity, 1))


def read_fine(query: Tensor, best: Tensor, memory: Memory, temperature: Tensor | float) -> Tensor:
    """Attention at 1/4 inside the window around the best token.

    query: (B, N, 4, 16), the four quarter-size keys of each token. best: (B, N).
    Returns (B, N, 4, 5): mean a, b, mean of their squares, and the best cosine.
    """
    windows = gather_windows(memory.windows, best)  # (B, N, 36, 20)
    cosine = query @ windows[..., :-FINE_VALUES].transpose(-1, -2)  # (B, N, 4, 36)
    weights = F.softmax(cosine.float() * temperature, -1)
    matched = weights @ windows[..., -FINE_VALUES:].float()
    return torch.cat((matched, cosine.float().amax(-1, keepdim=True)), -1)


def place_query(keys: Tensor, height: int, width: int) -> Tensor:
    """Let keys know where they are: their product with place_exemplar's gains -nearness * d^2.

    keys: (B, N, C), N = height * width tokens. d is the distance in units of the longer side; the
    part of d^2 that is the same for all exemplar tokens is left out. Returns (B, N, C + 3).
    """
    x, y = _positions(keys, height, width)
    return torch.cat((keys, x, y, torch.ones_like(x)), -1)


def place_exemplar(keys: Tensor, height: int, width: int, nearness: float) -> Tensor:
    """The exemplar's side of place_query. Returns (B, N, C + 3)."""
    x, y = _positions(keys, height, width)
    near = (2 * nearness * x, 2 * nearness * y, -nearness * (x * x + y * y))
    return torch.cat((keys, *near), -1)


def gather_windows(windows: Tensor, best: Tensor) -> Tensor:
    """windows: (B, M, 36, C), best: (B, N). Returns (B, N, 36, C)."""
    batch, tokens, *rest = windows.shape
    offset = torch.arange(batch, device=best.device)[:, None] * tokens
    flat = windows.reshape(batch * tokens, -1)
    return flat[(best + offset).reshape(-1)].view(batch, best.shape[1], *rest)


def unfold_windows(picture: Tensor) -> Tensor:
    """picture: (B, C, H/4, W/4). Returns (B, H/8 * W/8, 36, C), the window of each 1/8 token."""
    channels = picture.shape[1]
    pad = (WINDOW - 2) // 2
    picture = F.pad(picture, (pad, pad, pad, pad), mode="replicate")
    columns = F.unfold(picture, WINDOW, stride=2)  # (B, C * 36, M)
    batch, _, tokens = columns.shape
    return columns.view(batch, channels, WINDOW * WINDOW, tokens).permute(0, 3, 2, 1).contiguous()


def group_quarters(picture: Tensor) -> Tensor:
    """picture: (B, C, H/4, W/4). Returns (B, H/8 * W/8, 4, C)."""
    channels = picture.shape[1]
    grouped = F.pixel_unshuffle(picture, 2).flatten(2)  # (B, C * 4, N)
    return grouped.view(grouped.shape[0], channels, 4, -1).permute(0, 3, 2, 1)


def ungroup_quarters(tokens: Tensor, height: int, width: int) -> Tensor:
    """Undo group_quarters. tokens: (B, N, 4, C); height, width: size at 1/8."""
    batch, count, _, channels = tokens.shape
    grouped = tokens.permute(0, 3, 2, 1).reshape(batch, channels * 4, count)
    return F.pixel_shuffle(grouped.view(batch, channels * 4, height, width), 2)


def _positions(keys: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    longer = max(height, width)
    x = torch.arange(width, device=keys.device).repeat(height) / longer
    y = torch.arange(height, device=keys.device).repeat_interleave(width) / longer
    shape = (keys.shape[0], -1, 1)
    columns = [c.to(keys.dtype)[None, :, None].expand(shape) for c in (x, y)]
    return columns[0], columns[1]


def _peak(scores: Tensor) -> tuple[Tensor, Tensor]:
    """scores: (B, n, M). The largest of each row, (B, n, 1), and where one is, (B, n).

    Largest of M / 64 rows of 64, element by element, then of those: far faster than max() alone.
    """
    count = scores.shape[-1]
    whole = count - count % _LANES
    if whole < 2 * _LANES:
        peak, index = scores.max(-1, keepdim=True)
        return peak, index[..., 0]
    rows = scores[..., :whole].view(*scores.shape[:-1], -1, _LANES)
    peak, lane = rows.amax(-2).max(-1, keepdim=True)
    column = torch.gather(rows, -1, lane[..., None, :].expand(*rows.shape[:-1], 1))[..., 0]
    index = column.argmax(-1) * _LANES + lane[..., 0]
    if whole < count:
        tail, tail_index = scores[..., whole:].max(-1, keepdim=True)
        index = torch.where((tail > peak)[..., 0], tail_index[..., 0] + whole, index)
        peak = torch.maximum(peak, tail)
    return peak, index
