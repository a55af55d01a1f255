"""An effect at work on one clip: the OpenFX render verbs around a propagator.

begin_sequence_render, render for every frame first to last, end_sequence_render. The picture
pipeline makes the network's luma from the plate's and brings the chroma back to full size.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from bridge_server.effects.descriptor import Value
from bridge_server.effects.effect import Effect, Loaded
from models import color
from models.propagator import Exemplar, Propagator, State


@dataclass(frozen=True)
class Still:
    """An exemplar as it was sent: rgb (1, 3, H, W), sRGB-encoded 0..1."""

    rgb: Tensor
    index: int | None
    digest: str


@dataclass(frozen=True)
class Rendered:
    """chroma: (2, H, W), CIE a and b at full size. confidence: (H, W) at working size, if asked.

    times_us: microseconds spent before, in and behind the network.
    """

    chroma: Tensor
    confidence: Tensor | None
    times_us: Mapping[str, int] = field(default_factory=dict)


class Instance:
    """One session's effect. Not thread-safe: one render at a time."""

    def __init__(self, effect: Effect, loaded: Loaded, parameters: Mapping[str, Value]) -> None:
        self._parameters = parameters
        self._propagator: Propagator = effect.propagator(loaded, parameters)
        self._stills: list[Still] = []
        self._size: tuple[int, int] | None = None
        self._restored: State | None = None

    def begin_sequence_render(self, stills: list[Still], state: State | None = None) -> None:
        """Start with these exemplars, or with a saved state instead.

        The network sees them with the first frame, whose size they are fitted to.
        """
        self._stills = list(stills)
        self._restored = state

    def render(self, luma: Tensor, *, index: int, cut: bool, want_confidence: bool) -> Rendered:
        """Color the next frame. luma: (H, W), sRGB-encoded, 0..1; may go beyond.

        Raises ValueError when the size is not that of the first frame.
        """
        started = time.perf_counter()
        full = luma[None, None]
        if self._size is None:
            self._begin(int(full.shape[-2]), int(full.shape[-1]))
        assert self._size is not None
        small = F.interpolate(full.clamp(0, 1), self._size, mode="area")
        if cut:
            self._propagator.reset()
        prepared = time.perf_counter()
        step = self._propagator.step(
            color.gray_to_luma(small), index=index, want_confidence=want_confidence
        )
        stepped = time.perf_counter()
        chroma = F.interpolate(
            step.chroma.float(), full.shape[-2:], mode="bilinear", align_corners=False
        )
        chroma = chroma[0] * float(self._parameters["saturation"])
        confidence = None if step.confidence is None else step.confidence[0, 0]
        done = time.perf_counter()
        times = {
            "prepare": int((prepared - started) * 1e6),
            "network": int((stepped - prepared) * 1e6),
            "enlarge": int((done - stepped) * 1e6),
        }
        return Rendered(chroma, confidence, times)

    def put_exemplar(self, still: Still) -> None:
        """Add or replace an exemplar from the next frame on."""
        if self._size is None:
            self._stills.append(still)
        else:
            self._propagator.put_exemplar(self._fit(still))

    def save_state(self) -> State:
        """The propagator's state, with the working size it belongs to."""
        state = self._propagator.save_state()
        return State(state.tensors, {"size": list(self._size or ()), "inner": dict(state.values)})

    def end_sequence_render(self) -> None:
        """Let the state go."""
        self._stills = []
        self._restored = None

    @property
    def nbytes(self) -> int:
        return self._propagator.nbytes

    def _begin(self, height: int, width: int) -> None:
        long_side = int(self._parameters["working_size"])
        scale = min(1.0, long_side / max(height, width))
        self._size = max(1, round(height * scale)), max(1, round(width * scale))
        if self._restored is not None:
            inner = self._restored.values["inner"]
            assert isinstance(inner, dict)
            self._propagator.load_state(State(self._restored.tensors, inner))
            self._restored = None
        else:
            self._propagator.begin([self._fit(still) for still in self._stills])

    def _fit(self, still: Still) -> Exemplar:
        assert self._size is not None
        rgb = F.interpolate(still.rgb, self._size, mode="bilinear", antialias=True)
        lab = color.rgb_to_lab(rgb.clamp(0, 1))
        return Exemplar(lab[:, :1], lab[:, 1:], index=still.index, digest=still.digest)


def as_still(rgb: Tensor, index: int | None, digest: bytes) -> Still:
    """rgb: (H, W, 3) float, 0..1. Returns the still with its planes first."""
    return Still(rgb.permute(2, 0, 1)[None].contiguous(), index, digest.hex())
