"""Predicts how much device memory a shot needs and steps down, in a fixed order, until it fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from accel.choice import Json
from accel.presets import BALANCED, HIGH_QUALITY, LOW_MEMORY, MemoryMode

T = TypeVar("T")
MIB = 2**20
WORKSPACES = (256 * MIB, 64 * MIB, 16 * MIB)  # bounds on one block of similarities, in order
KEPT_PIXEL_BYTES = 300  # of a frame's features, while similarities are searched
RESERVE = 0.1  # share of the free memory that a plan leaves alone


@dataclass(frozen=True)
class Workload:
    """What a network needs, measured once per network; see benchmarks/accel_memory.py.

    multiple: both sides are padded to it. By precision: weight_bytes, resident while it runs, and
    pixel_bytes, the peak of a step's intermediate results per padded pixel. loading_bytes: of the
    float32 weights that a shorter format is made from. fixed_bytes: what does not grow.
    exemplar_bytes: per padded pixel, of one exemplar.
    most_pixels: larger pictures are shrunk to so many for the network; 0 for never.
    outer_bytes: per pixel of the working size, whatever the network sees.
    """

    effect: str
    multiple: int
    weight_bytes: Mapping[str, int]
    pixel_bytes: Mapping[str, float]
    loading_bytes: int = 0
    fixed_bytes: int = 0
    exemplar_bytes: float = 0.0
    most_pixels: int = 0
    outer_bytes: float = 0.0
    has_modes: bool = False
    has_half: bool = False


@dataclass(frozen=True)
class Prediction:
    """Device bytes by what they are for.

    workspace is used when most of the intermediate results do not exist yet, so that only what it
    has beyond them counts. loading is over when the rest begins.
    """

    weights: int
    intermediate: int
    state: int
    workspace: int
    loading: int = 0

    @property
    def total(self) -> int:
        running = self.weights + max(self.intermediate, self.workspace) + self.state
        return max(running, self.loading)


@dataclass(frozen=True)
class Step:
    """One step down: what was given up, why, and whether the picture changes by it."""

    name: str
    reason: str
    changes_picture: bool


@dataclass(frozen=True)
class MemoryPlan:
    """How a shot of one size is held in memory.

    workspace_bytes: bound on one block of similarities or matches. half_resolution: of Deep
    Exemplar's networks. budget_bytes: what the prediction had to fit into. fits: whether it does.
    """

    workload: Workload
    height: int
    width: int
    precision: str
    mode: MemoryMode
    workspace_bytes: int
    half_resolution: bool
    budget_bytes: int
    exemplars: int = 1
    steps: tuple[Step, ...] = ()

    @property
    def prediction(self) -> Prediction:
        return predict(self)

    @property
    def fits(self) -> bool:
        return self.prediction.total <= self.budget_bytes

    @property
    def changes_picture(self) -> bool:
        """Whether any step taken gives another picture than what was asked for."""
        return any(step.changes_picture for step in self.steps)

    def to_json(self) -> dict[str, Json]:
        prediction = self.prediction
        return {
            "memory_mode": self.mode.name if self.workload.has_modes else None,
            "workspace_bytes": self.workspace_bytes,
            "use_half_resolution": self.half_resolution if self.workload.has_half else None,
            "predicted_bytes": prediction.total,
            "budget_bytes": self.budget_bytes,
            "fits": self.fits,
            "changes_picture": self.changes_picture,
            "steps": [
                {"name": s.name, "reason": s.reason, "changes_picture": s.changes_picture}
                for s in self.steps
            ],
        }

    def __str__(self) -> str:
        need, have = self.prediction.total / MIB, self.budget_bytes / MIB
        asked = ", ".join(f"{step.name}: {step.reason}" for step in self.steps)
        return f"memory: {need:.0f} of {have:.0f} MiB" + (f" ({asked})" if asked else "")


def fit(plan: MemoryPlan) -> MemoryPlan:
    """Step down until the prediction fits or no step is left."""
    while not plan.fits:
        need, have = plan.prediction.total // MIB, plan.budget_bytes // MIB
        lower = step_down(plan, f"needs {need} MiB, {have} MiB are free")
        if lower is None:
            return plan
        plan = lower
    return plan


def step_down(plan: MemoryPlan, reason: str) -> MemoryPlan | None:
    """The next smaller plan; None when there is none.

    Order: smaller blocks (which leave the picture as it is), a smaller bank, half resolution.
    ColorMNet's bank is not moved to the host's memory: it is a few percent of the whole.
    """

    def lower(name: str, changes_picture: bool, **changes: object) -> MemoryPlan:
        steps = (*plan.steps, Step(name, reason, changes_picture))
        return replace(plan, steps=steps, **changes)  # type: ignore[arg-type]

    for size in WORKSPACES:
        if size < plan.workspace_bytes:
            return lower(f"blocks of {size // MIB} MiB", False, workspace_bytes=size)
    if plan.workload.has_modes and plan.mode != LOW_MEMORY:
        mode = BALANCED if plan.mode == HIGH_QUALITY else LOW_MEMORY
        return lower(f"memory_mode {mode.name}", True, mode=mode)
    if plan.workload.has_half and not plan.half_resolution:
        return lower("use_half_resolution on", True, half_resolution=True)
    return None


def run_within(
    plan: MemoryPlan, attempt: Callable[[MemoryPlan], T], release: Callable[[], None]
) -> tuple[T, MemoryPlan]:
    """Call attempt with the plan, and again one step lower each time the device is full.

    release: gives cached memory back between attempts. Returns the result and the plan that it was
    made with, whose steps say what was given up. Raises the last out-of-memory error when no step
    is left; other errors pass at once.
    """
    while True:
        try:
            return attempt(plan), plan
        except (torch.OutOfMemoryError, RuntimeError) as error:
            lower = step_down(plan, "out of memory") if is_out_of_memory(error) else None
            if lower is None:
                raise
        release()  # outside of the handler, whose traceback holds the frame's tensors
        plan = lower


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA has a class for it; the CPU's allocator says it in words."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def predict(plan: MemoryPlan) -> Prediction:
    """Device bytes at the peak of a step, with the bank as full as it gets."""
    work = plan.workload
    factor = 2 if work.has_half and plan.half_resolution else 1
    sides = (_padded(side, work.multiple * factor) // factor for side in (plan.height, plan.width))
    pixels = next(sides) * next(sides)
    pixels = min(pixels, work.most_pixels or pixels)
    bank, pairs = 0, 0
    if work.has_modes:
        bank, pairs = _bank(pixels, plan.mode, 4 if plan.precision == "fp32" else 2)
    elif work.has_half:
        pairs = (pixels // 16) ** 2
    block = min(plan.workspace_bytes, pairs * 4)
    outer = work.outer_bytes * plan.height * plan.width
    results = work.pixel_bytes[plan.precision] * pixels + outer
    return Prediction(
        weights=work.weight_bytes[plan.precision],
        intermediate=work.fixed_bytes + round(results),
        state=bank + round(plan.exemplars * work.exemplar_bytes * pixels),
        workspace=work.fixed_bytes + round(KEPT_PIXEL_BYTES * pixels) + block if block else 0,
        loading=work.loading_bytes if plan.precision != "fp32" else 0,
    )


def _bank(pixels: int, mode: MemoryMode, value_bytes: int) -> tuple[int, int]:
    """Bytes of ColorMNet's full bank, and the pairs of pixel and element that are compared.

    An element: key 64, selection 64, shrinkage, trust, two counters in float32, and value 2 x 512.
    Buffers grow ahead of need, and the last memory frame and the hidden state come on top.
    """
    queries = pixels // 256
    elements = mode.max_mid_term_frames * queries + mode.max_long_term_elements
    return round(elements * (4 * 132 + value_bytes * 1024) * 1.1), queries * elements


def _padded(side: int, multiple: int) -> int:
    return side + -side % multiple
