"""An effect at work on one clip: the OpenFX render verbs around a propagator.

begin_sequence_render, render for every frame first to last, end_sequence_render. The picture
pipeline makes the network's luma from the plate's and brings the chroma back to full size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from accel.device import Facts
from accel.memory import MemoryPlan
from accel.plan import Plan
from accel.streams import Lanes
from bridge_server.effects.descriptor import Value
from bridge_server.effects.effect import Effect, Loaded
from bridge_server.picture import fit_exemplar, upscale_chroma, working_luma, working_size
from models.propagator import Exemplar, Propagator, State

HOST = Facts("cpu", "", 0, 0, "")


@dataclass(frozen=True)
class Still:
    """An exemplar as it was sent.

    rgb: (H, W, 3) float32, sRGB-encoded 0..1. matte: (H, W), where it is below one half the
    exemplar says nothing; None when all of it counts. digest: hex.
    """

    rgb: Tensor
    index: int | None
    digest: str
    matte: Tensor | None = None


@dataclass(frozen=True)
class Rendered:
    """Still on the device, where its work may be under way.

    tensors: chroma (2, H, W), CIE a and b at full size; then, if it was asked for, the confidence
    (H, W) at working size. times_us: microseconds spent before, in and behind the network.
    """

    tensors: tuple[Tensor, ...]
    times_us: Mapping[str, int] = field(default_factory=dict)


class Instance:
    """One session's effect. Not thread-safe: one render at a time."""

    def __init__(
        self,
        effect: Effect,
        loaded: Loaded,
        parameters: Mapping[str, Value],
        plan: Plan | None = None,
        *,
        tell: Callable[[str, Mapping[str, Any]], None] = lambda name, data: None,
        memory: MemoryPlan | None = None,
        lanes: Lanes | None = None,
    ) -> None:
        """plan: None for an effect without a network. tell: hears of compilation as it goes on.

        memory: how the session is held; None lets the plan decide when the size is known. lanes:
        how frames get to the device and back; None leaves them in the host's memory.
        """
        self.memory = memory
        self.lanes = lanes if lanes is not None else Lanes(HOST)
        self._device = torch.device("cpu" if plan is None else plan.facts.device)
        self._effect = effect
        self._loaded = loaded
        self._parameters = parameters
        self._plan = plan
        self._tell = tell
        self._propagator: Propagator | None = None
        #: what the session runs with less than was asked, for its first result
        self.degraded: tuple[str, ...] = ()
        self._stills: list[Still] = []
        self._working: tuple[int, int] | None = None
        self._full: tuple[int, int] | None = None
        self._restored: State | None = None
        self._warmed = 0.0  # seconds of compiling, until the first frame has told them

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
        size = int(luma.shape[0]), int(luma.shape[1])
        if self._full is None:
            self._set_size(size)
        elif size != self._full:
            raise ValueError(f"expected frames of {self._full}, got {size}")
        assert self._working is not None
        full = self.lanes.upload(luma[None, None])
        small_luma, small_gray = working_luma(full, *self._working)
        propagator = self._propagator or self._begin(small_luma, index)
        if cut:
            propagator.reset()
        prepared = time.perf_counter()
        step = propagator.step(small_luma, index=index, want_confidence=want_confidence)
        stepped = time.perf_counter()
        chroma = upscale_chroma(
            step.chroma.float(),
            full,
            float(self._parameters["edge_strength"]),
            gray_small=small_gray,
        )
        chroma = chroma[0] * self._effect.saturation(self._parameters)
        confidence = () if step.confidence is None else (step.confidence[0, 0],)
        done = time.perf_counter()
        warmed, self._warmed = self._warmed, 0.0
        times = {
            "prepare": int((prepared - started - warmed) * 1e6),
            "network": int((stepped - prepared) * 1e6),
            "enlarge": int((done - stepped) * 1e6),
        }
        if warmed:
            times["warm_up"] = int(warmed * 1e6)
        return Rendered((chroma, *confidence), times)

    def put_exemplar(self, still: Still) -> None:
        """Add or replace an exemplar from the next frame on."""
        if self._propagator is None:
            self._stills = [s for s in self._stills if s.index is None or s.index != still.index]
            self._stills.append(still)
        else:
            self._propagator.put_exemplar(self._fit(still))

    def save_state(self) -> State:
        """The propagator's state, with the size of the frames it belongs to."""
        if self._propagator is None:
            raise ValueError("expected a frame before the state is saved, got none")
        state = self._propagator.save_state()
        return State(state.tensors, {"full": list(self._full or ()), "inner": dict(state.values)})

    def end_sequence_render(self) -> None:
        """Let the state go."""
        self._stills = []
        self._restored = None

    @property
    def nbytes(self) -> int:
        return 0 if self._propagator is None else self._propagator.nbytes

    def _set_size(self, full: tuple[int, int]) -> None:
        if self._restored is not None and self._restored.values["full"] != list(full):
            raise ValueError(f"expected frames of {self._restored.values['full']}, got {full}")
        self._full = full
        self._working = working_size(*full, int(self._parameters["working_size"]))

    def _begin(self, luma: Tensor, index: int) -> Propagator:
        """The session's propagator, with its exemplars or the restored state in it."""
        if self.memory is None and self._plan is not None and self._working is not None:
            self.memory = self._plan.memory_for(
                *self._working, exemplars=len(self._stills), loaded=True
            )
        memory = self.memory
        if memory is not None:
            self.degraded += tuple(f"{step.name}: {step.reason}" for step in memory.steps)
        exemplars = [self._fit(still) for still in self._stills]
        if self._loaded.compiler is not None:
            self._warm_up(memory, exemplars, luma, index)
        propagator: Propagator = self._make(memory)
        state, self._restored = self._restored, None
        if state is None:
            propagator.begin(exemplars)
        else:
            inner = state.values["inner"]
            assert isinstance(inner, dict)
            propagator.load_state(State(state.tensors, inner))
        self._propagator = propagator
        return propagator

    def _make(self, memory: Any) -> Propagator:
        made: Propagator = self._effect.propagator(self._loaded, self._parameters, memory)
        return made

    def _warm_up(self, memory: Any, exemplars: list[Exemplar], luma: Tensor, index: int) -> None:
        """Compile at the session's own shapes, on a propagator that is thrown away."""
        text = f"compiling {self._effect.id} for this size; the first time takes minutes"
        self._tell("compiling", {"effect": self._effect.id, "text": text})
        began = time.perf_counter()
        spare = self._make(memory)
        with self._loaded.compiler.warming(self._compiled):
            spare.begin(exemplars)
            spare.step(luma, index=index)
            spare.step(luma, index=index + 1)
        self._warmed = time.perf_counter() - began

    def _compiled(self, outcome: Any) -> None:
        text = str(outcome)[:200]
        self._tell("compiled", {"code": outcome.code, "text": text})
        if outcome.code != "compiled":
            self.degraded += (f"{outcome.code}: {outcome}"[:500],)

    def _fit(self, still: Still) -> Exemplar:
        assert self._working is not None
        matte = None if still.matte is None else still.matte.to(self._device)
        rgb = still.rgb.to(self._device)
        luma, chroma, valid = fit_exemplar(rgb, *self._working, matte=matte)
        whole = bool(torch.all(valid == 1))
        return Exemplar(luma, chroma, still.index, None if whole else valid, still.digest)
