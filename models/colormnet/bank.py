"""What memory keeps of a shot: exemplars for good, recent frames whole, older ones compressed.

Three stores. Permanent: exemplars; never evicted or compressed. Working: every memory frame until
there are too many; then the older ones become prototypes. Long-term: prototypes, of which the least
used leave when there are too many. The first frame ever stored counts as one working frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from models.propagator import Json

from .config import MemorySettings
from .plain import below, integer, mapping
from .similarity import GROUP, best, element_rows, pixel_rows
from .store import Elements, Store


@dataclass(frozen=True)
class Reading:
    """What n pixels got from memory, float32.

    value: (n, 1024). match: (n,), in 0..1, how alike the best elements are: 1 / (1 - m / 8) with m
    the log of the mean exponentiated similarity of the elements read. trust: (n,), in 0..1, the
    trust of those elements, by weight.
    """

    value: Tensor
    match: Tensor
    trust: Tensor


class Bank:
    """Policy over three stores; `frame_elements` is the number of elements of one frame."""

    def __init__(self, settings: MemorySettings, frame_elements: int) -> None:
        self.settings = settings
        self.frame_elements = frame_elements
        self.permanent, self.work, self.long = Store(), Store(), Store()
        self._exemplars: dict[str, int] = {}  # elements by exemplar, in the store's order

    def read(self, key: Tensor, selection: Tensor | None) -> Reading:
        """key, selection: (n, 64) float32 of n pixels. Counts the use of what is read.

        Pixels are taken in chunks so that similarities never hold more than workspace_bytes.
        Raises ValueError when memory is empty.
        """
        stores = [s for s in (self.long, self.permanent, self.work) if len(s)]
        total = sum(map(len, stores))
        if not total:
            raise ValueError("memory: expected at least one frame or exemplar, got none")
        count = min(self.settings.top_k, total)
        width = -(-total // GROUP) * GROUP
        pixels = pixel_rows(key, selection)
        rows = self._rows_per_chunk(width, count, len(pixels))
        elements = [element_rows(s["key"], s["shrinkage"]).T for s in stores]
        scores = pixels.new_empty(rows, width)
        kept, columns = pixels.new_empty(len(pixels), count), []
        for start in range(0, len(pixels), rows):
            chunk = pixels[start : start + rows]
            part, left = scores[: len(chunk)], 0
            for rows_of_store in elements:
                right = left + rows_of_store.shape[1]
                torch.mm(chunk, rows_of_store, out=part[:, left:right])
                left = right
            kept[start : start + len(chunk)], found = best(part, count, total)
            columns.append(found)
        return self._read_out(stores, kept, torch.cat(columns))

    def put_exemplar(self, name: str, elements: Elements) -> None:
        """Hold an exemplar for good, or what replaces the one of this name."""
        if (
            not self.settings.permanent_exemplars
            and self._exemplars
            and name not in self._exemplars
        ):
            self.add_frame(elements)
            return
        self.remove_exemplar(name)
        self.permanent.append(elements)
        self._exemplars[name] = len(elements)

    def remove_exemplar(self, name: str) -> None:
        """Forget an exemplar; nothing happens when it is not held."""
        if name not in self._exemplars:
            return
        start = 0
        for other, size in self._exemplars.items():
            if other == name:
                self.permanent.drop(start, start + size)
                break
            start += size
        del self._exemplars[name]

    def add_frame(self, elements: Elements) -> None:
        """Put a frame at the end of working memory and compress what is too much."""
        self.work.append(elements)
        held = len(self.work) + (self.frame_elements if len(self.permanent) else 0)
        if self.settings.long_term and held >= (
            self.settings.max_mid_term_frames * self.frame_elements
        ):
            self._make_room()
            self._compress()

    def forget_frames(self) -> None:
        """A cut: keep the exemplars only."""
        self.work.clear()
        self.long.clear()

    @property
    def exemplars(self) -> tuple[str, ...]:
        """Names of the exemplars held."""
        return tuple(self._exemplars)

    @property
    def sizes(self) -> tuple[int, int]:
        """Elements in working memory, exemplars included, and in long-term memory."""
        return len(self.permanent) + len(self.work), len(self.long)

    @property
    def nbytes(self) -> int:
        """Bytes of all stores."""
        return self.permanent.nbytes + self.work.nbytes + self.long.nbytes

    def tensors(self) -> dict[str, Tensor]:
        """Copies of everything held, by dotted name."""
        stores = {"permanent": self.permanent, "work": self.work, "long": self.long}
        return {f"{s}.{n}": t for s, store in stores.items() for n, t in store.tensors().items()}

    def values(self) -> dict[str, Json]:
        """What tensors() needs beside it."""
        return {"exemplars": dict(self._exemplars)}

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Json]) -> None:
        """Take over what tensors() and values() gave. Raises ValueError when incomplete."""
        for name, store in (
            ("permanent", self.permanent),
            ("work", self.work),
            ("long", self.long),
        ):
            store.restore(below(tensors, name + "."))
        sizes = mapping(values, "exemplars")
        self._exemplars = {name: integer(sizes, name) for name in sizes}

    def _rows_per_chunk(self, width: int, count: int, pixels: int) -> int:
        scores = 4 * (width + width // GROUP)
        candidates = count * GROUP * (8 + 8 + 4)
        return min(pixels, max(1, self.settings.workspace_bytes // (scores + candidates)))

    def _read_out(self, stores: list[Store], scores: Tensor, columns: Tensor) -> Reading:
        """scores, columns: (n, k), the kept similarities and where they were found."""
        weights = torch.softmax(scores, 1)  # subtracts the maximum, so that none can vanish
        count = scores.shape[1]
        log_mean = torch.logsumexp(scores, 1) - torch.log(scores.new_full((), float(count)))
        match = 1.0 / (1.0 - log_mean.clamp(max=0.0) / 8.0)
        value = torch.zeros(
            len(scores), stores[0]["value"].shape[1], dtype=torch.float32, device=scores.device
        )
        trust = scores.new_zeros(len(scores))
        left = 0
        for store in stores:
            right = left + len(store)
            inside = (columns >= left) & (columns < right)
            share = torch.where(inside, weights, 0.0)
            index = (columns - left).clamp(0, len(store) - 1)
            value += _weighted_rows(store["value"], index, share, inside)
            trust += (share * store["trust"][index]).sum(1)
            if self.settings.long_term and store is not self.permanent:
                store["use"].index_add_(0, index.flatten(), share.flatten())
                store["life"].add_(1.0)
            left = right
        return Reading(value, match, trust)

    def _make_room(self) -> None:
        """Drop the least used prototypes; all that tie at the limit go together."""
        most = self.settings.max_long_term_elements - self.settings.num_prototypes
        surplus = len(self.long) - most
        if surplus > 0:
            usage = self.long["use"] / self.long["life"]
            self.long.keep(usage > usage.kthvalue(surplus).values)

    def _compress(self) -> None:
        """Turn all but the newest working frames into prototypes."""
        newest = (self.settings.min_mid_term_frames - 1) * self.frame_elements
        candidates = self.work.elements(0, len(self.work) - newest)
        usage = (self.work["use"] / self.work["life"])[: len(candidates)]
        count = min(self.settings.num_prototypes, len(candidates))
        chosen = candidates.keep(usage.topk(count).indices)
        scores = pixel_rows(chosen.key, chosen.selection) @ (
            element_rows(candidates.key, candidates.shrinkage).T
        )
        weights = torch.softmax(scores, 1)  # over all candidates
        prototypes = Elements(
            key=chosen.key,
            shrinkage=weights @ candidates.shrinkage,
            selection=chosen.selection,
            value=(weights @ candidates.value.float()).to(candidates.value.dtype),
            trust=weights @ candidates.trust,
        )
        self.long.append(prototypes)
        self.work.drop(0, len(candidates))


def _weighted_rows(table: Tensor, index: Tensor, weight: Tensor, inside: Tensor) -> Tensor:
    """sum_k weight(i, k) table(index(i, k)): (n, C) float32; weight is 0 where not inside.

    A CPU reads only the rows that are inside. To count them would make the host wait for any other
    device, so that there all are read.
    """
    if not _counting_is_free(table.device):
        return torch.nn.functional.embedding_bag(
            index, table, mode="sum", per_sample_weights=weight.to(table.dtype)
        ).float()
    rows, taps = inside.nonzero(as_tuple=True)
    starts = torch.cumsum(inside.sum(1), 0) - inside.sum(1)
    return torch.nn.functional.embedding_bag(
        index[rows, taps],
        table,
        starts,
        mode="sum",
        per_sample_weights=weight[rows, taps].to(table.dtype),
    ).float()


def _counting_is_free(device: torch.device) -> bool:
    return device.type == "cpu"
