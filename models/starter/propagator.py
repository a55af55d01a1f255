"""Walks the starter network through a shot: exemplars are its only memory.

Nothing that the network predicted is fed back into it, so colors do not fade over a long shot.
`temporal_blend` mixes the last frame's colors in afterwards, carried by optical flow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from models.propagator import Exemplar, State, Step
from models.starter.flow import carry, why_no_flow
from models.starter.matching import Memory, place_exemplar, place_query
from models.starter.network import CHROMA_SCALE, Prediction, Starter
from models.starter.sizing import Sizing

SPREAD = 12.0  # CIE ab; spread of the matched colors at which confidence falls to 1/e
NEARNESS = 0.12  # of cosine: what a match one picture's longer side away has to be better by
SHARPEN_FINE = 1.5  # of the fine read's temperature; measured on held-out clips
SAME_LUMA = 4.0  # mean difference in CIE L up to which an exemplar is its frame


@dataclass(frozen=True)
class StarterSettings:
    """temporal_blend: in [0, 1], how much of the last frame's colors flow may carry on; 0 is off.
    It is halved in a shot that has not yet passed the frame of a pinned exemplar: there are no
    true colors to carry. Measured on held-out shots, 0.99 is best behind a true frame and 0.5
    elsewhere.

    self_ensemble: color the mirrored frame as well, from mirrored exemplars, and average both:
    closer and calmer colors in twice the time.

    max_tokens: of 8 x 8 pixels; larger working sizes run smaller inside.
    """

    temporal_blend: float = 0.99
    self_ensemble: bool = False
    max_tokens: int = 6480

    def __post_init__(self) -> None:
        if not 0 <= self.temporal_blend <= 1:
            raise ValueError(f"temporal_blend: expected 0 to 1, got {self.temporal_blend}")
        if self.max_tokens < 64:
            raise ValueError(f"max_tokens: expected at least 64, got {self.max_tokens}")


class StarterPropagator:
    """A models.propagator.Propagator over one shot."""

    def __init__(self, network: Starter, settings: StarterSettings | None = None) -> None:
        """Raises ValueError when temporal_blend asks for flow that this machine cannot do."""
        self.network = network
        self.settings = settings or StarterSettings()
        reasons = why_no_flow() if self.settings.temporal_blend > 0 else ()
        if reasons:
            raise ValueError(f"temporal_blend: expected 0 without optical flow: {reasons[0]}")
        self._exemplars: list[Exemplar] = []
        self._views = (False, True) if self.settings.self_ensemble else (False,)  # mirrored or not
        self._memories: list[tuple[Memory, ...]] = []  # of each exemplar, one a view
        self._memory: tuple[Memory, ...] = ()  # of all exemplars, one a view
        self._sizing: Sizing | None = None
        self._last: tuple[Tensor, Tensor] | None = None  # inner luma and chroma of the last frame
        self._anchored = False  # whether the shot has passed a pinned exemplar's frame

    def begin(self, exemplars: Sequence[Exemplar]) -> None:
        if not exemplars:
            raise ValueError("exemplars: expected at least one, got none")
        sizes = {tuple(e.luma.shape[-2:]) for e in exemplars}
        if len(sizes) > 1:
            raise ValueError(f"exemplars: expected one size, got {sorted(sizes)}")
        height, width = sizes.pop()
        self._sizing = Sizing.fit(
            height,
            width,
            max_tokens=self.settings.max_tokens,
            stride=self.network.config.stride,
        )
        self._exemplars, self._memories = [], []
        self.reset()
        for exemplar in exemplars:
            self.put_exemplar(exemplar)

    def put_exemplar(self, exemplar: Exemplar) -> None:
        self._check(exemplar.luma, "exemplar")
        memory = tuple(self._memorize(exemplar, mirrored) for mirrored in self._views)
        for place, old in enumerate(self._exemplars):
            if exemplar.index is not None and old.index == exemplar.index:
                self._exemplars[place], self._memories[place] = exemplar, memory
                break
        else:
            self._exemplars.append(exemplar)
            self._memories.append(memory)
        self._memory = tuple(_joined(view) for view in zip(*self._memories, strict=True))

    @torch.inference_mode()
    def step(self, luma: Tensor, *, index: int, want_confidence: bool = False) -> Step:
        sizing = self._check(luma, "luma")
        if not self._memory:
            raise ValueError("step: expected begin to be called first")
        luma = luma.to(self._device, torch.float32)
        inner = sizing.down(luma)
        padded = sizing.pad(inner)
        predictions = [
            self._read(_mirrored(padded) if mirrored else padded, memory)
            for mirrored, memory in zip(self._views, self._memory, strict=True)
        ]
        chromas = [
            _mirrored(p.chroma.float()) if mirrored else p.chroma.float()
            for mirrored, p in zip(self._views, predictions, strict=True)
        ]
        chroma = sizing.crop(torch.stack(chromas).mean(0)) * CHROMA_SCALE
        if self.settings.temporal_blend > 0:
            chroma = self._blend(chroma, inner, index)
            self._last = (inner, chroma)
        chroma = sizing.up(chroma, inner, luma).clamp(-128, 127).contiguous()
        return Step(chroma, self._confidence(predictions[0]) if want_confidence else None)

    def reset(self) -> None:
        self._last, self._anchored = None, False

    def save_state(self) -> State:
        tensors: dict[str, Tensor] = {}
        for place, exemplar in enumerate(self._exemplars):
            tensors[f"exemplars.{place}.luma"] = exemplar.luma.clone()
            tensors[f"exemplars.{place}.chroma"] = exemplar.chroma.clone()
            if exemplar.valid is not None:
                tensors[f"exemplars.{place}.valid"] = exemplar.valid.clone()
        if self._last is not None:
            tensors["last.luma"], tensors["last.chroma"] = (t.clone() for t in self._last)
        return State(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            {
                "indices": [e.index for e in self._exemplars],
                "digests": [e.digest for e in self._exemplars],
                "anchored": self._anchored,
            },
        )

    def load_state(self, state: State) -> None:
        """Exemplars are encoded anew, which gives what begin gave; raises ValueError as it does."""
        indices, digests = state.values.get("indices"), state.values.get("digests")
        if not isinstance(indices, list) or not isinstance(digests, list):
            raise ValueError("state: expected indices and digests of exemplars, got neither")
        self.begin(
            [
                Exemplar(
                    state.tensors[f"exemplars.{place}.luma"].clone(),
                    state.tensors[f"exemplars.{place}.chroma"].clone(),
                    index if isinstance(index, int) else None,
                    state.tensors.get(f"exemplars.{place}.valid"),
                    str(digests[place]),
                )
                for place, index in enumerate(indices)
            ]
        )
        if "last.luma" in state.tensors:
            self._last = (
                state.tensors["last.luma"].to(self._device).clone(),
                state.tensors["last.chroma"].to(self._device).clone(),
            )
        self._anchored = bool(state.values.get("anchored"))

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._tensors())

    @property
    def _device(self) -> torch.device:
        return self.network.log_temperature_8.device

    def _tensors(self) -> Iterator[Tensor]:
        for exemplar in self._exemplars:
            yield from (
                t for t in (exemplar.luma, exemplar.chroma, exemplar.valid) if t is not None
            )
        single = self._memories if len(self._memories) > 1 else []
        for views in (*single, self._memory):
            for memory in views:
                yield from (memory.keys, memory.values, memory.windows)
        yield from self._last or ()

    def _check(self, luma: Tensor, name: str) -> Sizing:
        if self._sizing is None:
            raise ValueError(f"{name}: expected begin to be called first")
        expected = (1, 1, self._sizing.height, self._sizing.width)
        if tuple(luma.shape) != expected:
            raise ValueError(f"{name}: expected {expected}, got {tuple(luma.shape)}")
        return self._sizing

    def _read(self, padded: Tensor, memory: Memory) -> Prediction:
        features = self.network.encode(padded)
        height, width = features.coarse.shape[-2:]
        features = replace(features, key_8=place_query(features.key_8, height, width))
        return self.network.read(
            padded,
            features,
            memory,
            sharpen=sharpen(memory.keys.shape[1]),
            sharpen_fine=SHARPEN_FINE,
        )

    @torch.inference_mode()
    def _memorize(self, exemplar: Exemplar, mirrored: bool) -> Memory:
        sizing = self._check(exemplar.luma, "exemplar")
        luma, chroma = (
            sizing.pad(sizing.down(t.to(self._device, torch.float32)))
            for t in (exemplar.luma, exemplar.chroma / CHROMA_SCALE)
        )
        if mirrored:
            luma, chroma = _mirrored(luma), _mirrored(chroma)
        features = self.network.encode(luma)
        memory = self.network.memorize(features, luma, chroma)
        height, width = features.coarse.shape[-2:]
        keys = place_exemplar(memory.keys, height, width, NEARNESS)
        real = torch.ones_like(exemplar.luma) if exemplar.valid is None else exemplar.valid
        inside = sizing.down(real.to(self._device, torch.float32))
        padding = sizing.padding
        sides = (padding.left, padding.right, padding.top, padding.bottom)
        inside = F.pad(inside, sides)
        keep = F.avg_pool2d(_mirrored(inside) if mirrored else inside, 8).flatten() > 0.5
        if not keep.any():
            raise ValueError("exemplar.valid: expected some real pixels, got none")
        return Memory(keys[:, keep], memory.values[:, keep], memory.windows[:, keep])

    def _blend(self, chroma: Tensor, luma: Tensor, index: int) -> Tensor:
        """Mix in the last frame's colors; begin from a pinned exemplar's own where it is."""
        exemplar = next((e for e in self._exemplars if e.index == index), None)
        if exemplar is not None and self._sizing is not None:
            own = self._sizing.down(exemplar.luma.to(self._device, torch.float32))
            if float((own - luma).abs().mean()) <= SAME_LUMA:
                self._anchored = True
                true = self._sizing.down(exemplar.chroma.to(self._device, torch.float32))
                if exemplar.valid is None:
                    return true
                weight = self._sizing.down(exemplar.valid.to(self._device, torch.float32))
                return weight * true + (1 - weight) * chroma
        if self._last is None:
            return chroma
        carried = carry(self._last[1], self._last[0], luma)
        strength = self.settings.temporal_blend * (1.0 if self._anchored else 0.5)
        weight = carried.trust * strength
        return weight * carried.chroma + (1 - weight) * chroma

    def _confidence(self, prediction: Prediction) -> Tensor:
        """exp(-spread / 12): spread is the standard deviation of the matched colors, CIE ab."""
        sizing = self._check_begun()
        spread = prediction.variance.float().sqrt() * CHROMA_SCALE
        certain = torch.exp(-spread / SPREAD) * prediction.similarity.float().clamp(0, 1)
        certain = F.interpolate(certain, scale_factor=8.0, mode="bilinear", align_corners=False)
        certain = sizing.crop(certain)
        size = (sizing.height, sizing.width)
        if certain.shape[-2:] != size:
            certain = F.interpolate(certain, size, mode="bilinear", align_corners=False)
        return certain.clamp(0, 1).contiguous()

    def _check_begun(self) -> Sizing:
        if self._sizing is None:
            raise ValueError("step: expected begin to be called first")
        return self._sizing


def _joined(memories: Sequence[Memory]) -> Memory:
    """The memories of several exemplars behind one another."""
    parts = zip(*((m.keys, m.values, m.windows) for m in memories), strict=True)
    return Memory(*(torch.cat(part, 1) for part in parts))


def _mirrored(picture: Tensor) -> Tensor:
    """(B, C, H, W), left and right exchanged."""
    return picture.flip(-1).contiguous()


def sharpen(tokens: int) -> float:
    """How much the global read's temperature grows with the number of tokens it chooses from.

    One at the 256 to 1,024 tokens of a training picture; measured on held-out clips.
    """
    return max(1.0, 1.0 + 0.6 * math.log2(tokens / 1000)) if tokens > 400 else 1.0
