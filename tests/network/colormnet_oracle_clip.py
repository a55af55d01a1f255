"""How the official program walks ColorMNet through a clip and what it remembers, read plainly.

The other half of colormnet_oracle.py: modes, clocks, memory manager. Nothing is chunked, bounded or
reordered, and usage is always counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from colormnet_oracle import Network, crop, pad
from torch import Tensor


@dataclass(frozen=True)
class Memory:
    """The constants of the memory manager, named and preset as in the official script."""

    mem_every: int = 5
    deep_update_every: int = -1
    top_k: int = 30
    max_mid_term_frames: int = 10
    min_mid_term_frames: int = 5
    num_prototypes: int = 128
    max_long_term_elements: int = 10_000
    enable_long_term: bool = True


def similarity(key: Tensor, shrinkage: Tensor, query: Tensor, selection: Tensor | None) -> Tensor:
    """key (64, N), shrinkage (N,), query and selection (64, n) -> (N, n), expanded as published."""
    if selection is None:
        s = -(key**2).sum(0)[:, None] + 2 * (key.T @ query)
    else:
        s = -(key**2).T @ selection + 2 * (key.T @ (query * selection))
        s = s - (selection * query**2).sum(0)
    return s * shrinkage[:, None] / math.sqrt(key.shape[0])


@dataclass
class Store:
    """Columns: key, selection (64, N), shrinkage, use, life (N,), value (2, 512, N)."""

    columns: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.columns["use"].numel() if self.columns else 0

    def append(self, **new: Tensor) -> None:
        n = new["key"].shape[-1]
        new["use"] = torch.zeros(n, dtype=new["key"].dtype)
        new["life"] = torch.full((n,), 1e-7, dtype=new["key"].dtype)
        for name, x in new.items():
            self.columns[name] = (
                torch.cat([self.columns[name], x], -1) if name in self.columns else x
            )

    def keep(self, index: Tensor) -> None:
        self.columns = {name: x[..., index] for name, x in self.columns.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self.columns[name]

    def usage(self) -> Tensor:
        return self["use"] / self["life"]


class Oracle:
    """One clip: modes, clocks and hidden state in `step`; the memory manager below it.

    stages holds the last step's intermediate results under the names of the recorded files.
    """

    def __init__(self, network: Network, memory: Memory) -> None:
        self.network, self.memory = network, memory
        self.t = 0
        self.last_memory_time = 0
        self.last_deep_update = -memory.deep_update_every  # frame 0 is due
        self.state: Tensor | None = None
        self.last_key: Tensor | None = None
        self.last_value: Tensor | None = None
        self.working, self.long = Store(), Store()
        self.stages: dict[str, Tensor] = {}
        self.evictions = self.consolidations = 0

    @torch.no_grad()
    def step(
        self,
        image: Tensor,
        exemplar_l: Tensor | None = None,
        exemplar_ab: Tensor | None = None,
        *,
        end: bool = False,
    ) -> Tensor:
        """image, exemplar_l (3, H, W), exemplar_ab (2, H, W), normalised. Returns (2, H, W).

        exemplar_ab alone: mode A (the colours are this frame's); with exemplar_l: mode B.
        """
        net, m = self.network, self.memory
        self.stages = stages = {}
        size = image.shape[-2:]
        given, separate = exemplar_ab is not None, exemplar_l is not None
        memory_frame = (self.t - self.last_memory_time >= m.mem_every or given) and not end
        if m.deep_update_every < 0:
            deep = memory_frame
        else:
            deep = self.t - self.last_deep_update >= m.deep_update_every and not end
        normal = not end and (m.deep_update_every >= 0 or not deep)
        if separate:
            deep = False

        x = pad(image)[None]
        f16, f8, f4, d16 = net.key_encoder(x)
        key, shrinkage, selection = net.key_projection(f16)
        stages.update(image=x[:, :1], dino=d16, f16=f16, f8=f8, f4=f4, key=key)
        stages.update(selection=selection, shrinkage=shrinkage)
        if self.state is None:
            hidden = net.w["decoder.hidden_update.transform.weight"].shape[0] // 3
            self.state = torch.zeros(2, hidden, *key.shape[-2:], dtype=key.dtype)

        if separate:
            assert exemplar_l is not None
            assert exemplar_ab is not None
            xe = pad(exemplar_l)[None]
            e16 = net.key_encoder(xe)[0]
            value, _ = net.value_encoder(xe, e16, self.state, pad(exemplar_ab), deep=False)
            self._memorize(*net.key_projection(e16), value)

        if given and not separate:
            assert exemplar_ab is not None
            planes = pad(exemplar_ab)
        else:
            blind = separate and not m.enable_long_term  # the official program's oddity
            readout = self._read(key, None if blind else selection)
            stages["memory_readout"] = readout
            if not separate:
                assert self.last_key is not None
                assert self.last_value is not None
                local = net.local_attention(key, self.last_key, self.last_value)
                stages["local_readout"] = local
                readout = readout + local
            stages.update(readout_sum=readout, hidden_in=self.state)
            z, planes, self.state = net.decoder((f16, f8, f4), readout, self.state, update=normal)
            stages.update(logits_quarter=z, prob_padded=planes)
            if normal:
                stages["hidden_out"] = self.state

        if memory_frame:
            stages["value_hidden_in"] = self.state
            value, self.state = net.value_encoder(x, f16, self.state, planes, deep=deep)
            stages.update(value=value, value_hidden_out=self.state)
            self._memorize(key, shrinkage, selection, value)
            if deep:
                self.last_deep_update = self.t
        self.t += 1
        if given and not separate:
            assert exemplar_ab is not None
            return exemplar_ab
        return crop(planes, size)

    def _read(self, key: Tensor, selection: Tensor | None) -> Tensor:
        """Attention to the top_k of long-term and working memory: (2, 512, h, w)."""
        stores = [s for s in (self.long, self.working) if len(s)]
        keys = torch.cat([s["key"] for s in stores], -1)
        shrinkage = torch.cat([s["shrinkage"] for s in stores], -1)
        values = torch.cat([s["value"] for s in stores], -1)
        query = key[0].flatten(1)
        chosen = None if selection is None else selection[0].flatten(1)
        s = similarity(keys, shrinkage, query, chosen)
        top, index = s.topk(min(self.memory.top_k, s.shape[0]), 0)
        a = torch.zeros_like(s).scatter_(0, index, top.softmax(0))
        if self.memory.enable_long_term:
            attention, at = a.sum(1), 0
            for store in stores:
                store.columns["use"] = store["use"] + attention[at : at + len(store)]
                store.columns["life"] = store["life"] + 1
                at += len(store)
        return (values @ a).reshape(*values.shape[:2], *key.shape[-2:])

    def _memorize(self, key: Tensor, shrinkage: Tensor, selection: Tensor, value: Tensor) -> None:
        m = self.memory
        self.last_key, self.last_value = key, value
        self.last_memory_time = self.t
        self.working.append(
            key=key[0].flatten(1),
            shrinkage=shrinkage.flatten(),
            selection=selection[0].flatten(1),
            value=value.flatten(2),
        )
        n = key.shape[-2] * key.shape[-1]
        if m.enable_long_term and len(self.working) >= m.max_mid_term_frames * n:
            self._evict()
            self._consolidate(n)

    def _evict(self) -> None:
        limit = self.memory.max_long_term_elements - self.memory.num_prototypes
        surplus = len(self.long) - limit
        if surplus <= 0:
            return
        usage = self.long.usage()
        threshold = usage.sort().values[min(surplus, len(self.long)) - 1]
        self.long.keep((usage > threshold).nonzero()[:, 0])
        self.evictions += 1

    def _consolidate(self, n: int) -> None:
        """All but the first frame ever and the newest min_mid_term_frames - 1 are candidates."""
        work, size = self.working, len(self.working)
        newest = (self.memory.min_mid_term_frames - 1) * n
        index = torch.arange(n, size - newest)
        c = {name: x[..., index] for name, x in work.columns.items()}
        usage = work.usage()[index]
        prototypes = usage.topk(min(self.memory.num_prototypes, len(usage))).indices
        key, selection = c["key"][:, prototypes], c["selection"][:, prototypes]
        a = similarity(c["key"], c["shrinkage"], key, selection).softmax(0)
        self.long.append(key=key, shrinkage=c["shrinkage"] @ a, value=c["value"] @ a)
        work.keep(torch.cat([torch.arange(n), torch.arange(size - newest, size)]))
        self.consolidations += 1
