"""The library behind `chromabridge bench`: what each switch gains and costs on this machine."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from accel import device, heap
from accel.compiling import Compiler
from accel.device import Facts
from accel.memory import MemoryPlan
from accel.plan import Plan, Switches, make_plan
from bridge_server.difference import ciede2000
from models.color import rgb_to_lab
from models.propagator import Exemplar, Propagator

SIZES = ((480, 640), (432, 768))  # those of the seed's tables, height first
OFF = Switches(use_torch_compile="off", correlation_sampler="off", precision="fp32")
VARIANTS: Mapping[str, Switches] = {
    "baseline": OFF,
    "precision": replace(OFF, precision="auto", use_fp16=True),
    "compile": replace(OFF, use_torch_compile="on"),
    "sampler": replace(OFF, correlation_sampler="on"),
    "sage": replace(OFF, use_sage_attention=True),
    "all": Switches(
        use_torch_compile="on", correlation_sampler="auto", use_fp16=True, use_sage_attention=True
    ),
}
QUICK_SIZES = ((240, 320),)
NONE: Mapping[str, str] = {}
Build = Callable[[Plan, MemoryPlan, Compiler | None], Propagator]


def without_compiling() -> dict[str, Switches]:
    """The variants, none of them compiled: what can be known in minutes."""
    return {
        name: replace(asked, use_torch_compile="off")
        for name, asked in VARIANTS.items()
        if name != "compile"
    }


@dataclass(frozen=True)
class Clip:
    """Frames of one size and what gives them color. lumas: each (1, 1, H, W), CIE L."""

    name: str
    lumas: tuple[Tensor, ...]
    exemplar: Exemplar

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.lumas[0].shape[-2:]
        return int(height), int(width)


@dataclass(frozen=True)
class Row:
    """One variant of one effect at one size.

    seconds: median of a frame, the first one apart. gain: baseline's seconds over these.
    cpu_seconds, cpu_gain: the same in processor time of all threads, which other work on the
    machine hardly disturbs; of a CPU only, else 0.
    peak_bytes: over what was held before the network was built, weights included. error_mean,
    error_max: CIEDE2000 against the baseline of the same frames. why_not: reasons why the variant
    is the same as another and was not run (all figures are 0 then), or ran eagerly in parts.
    """

    effect: str
    height: int
    width: int
    variant: str
    effective: Mapping[str, Any]
    seconds: float = 0.0
    gain: float = 0.0
    cpu_seconds: float = 0.0
    cpu_gain: float = 0.0
    peak_bytes: int = 0
    error_mean: float = 0.0
    error_max: float = 0.0
    warm_up_s: float = 0.0
    why_not: tuple[str, ...] = ()

    @property
    def fps(self) -> float:
        return 1.0 / self.seconds if self.seconds else 0.0


def measure(
    effect: str,
    build: Build,
    facts: Facts,
    clip: Clip,
    *,
    variants: Mapping[str, Switches] = VARIANTS,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Row]:
    """Rows of one effect at the clip's size, baseline first, each as soon as it is known.

    build: a fresh propagator for a plan; the compiler, if any, must be handed to its network.
    clock: of seconds; processor time is measured beside it.
    """
    height, width = clip.size
    base: _Run | None = None
    seen = dict[str, str]()
    for name, asked in variants.items():
        plan = make_plan(facts, effect, asked)
        ran = json.dumps(plan.effective, sort_keys=True)
        row = Row(effect, height, width, name, plan.effective)
        if ran in seen:
            same = f"the same as {seen[ran]} here"
            yield replace(row, why_not=(same, *(str(c) for c in plan.choices if c.refusals)))
            continue
        seen[ran] = name
        run = _run(plan, build, clip, clock)
        base = base or run
        mean, most = _errors(clip, run.chroma, base.chroma)
        yield replace(
            row,
            seconds=run.seconds,
            gain=base.seconds / run.seconds if run.seconds else 0.0,
            cpu_seconds=run.cpu_seconds,
            cpu_gain=base.cpu_seconds / run.cpu_seconds if run.cpu_seconds else 0.0,
            peak_bytes=run.peak_bytes,
            error_mean=mean,
            error_max=most,
            warm_up_s=run.warm_up_s,
            why_not=tuple(str(outcome) for outcome in run.fallbacks),
        )


def text(rows: Sequence[Row]) -> str:
    """A table for the terminal; a variant that did not run says why on a line of its own."""
    head = f"{'effect':<14} {'size':<9} {'variant':<10} {'s/frame':>8} {'frames/s':>8} {'gain':>6} "
    head += f"{'cpu s':>7} {'gain':>6} {'peak MiB':>9} {'dE mean':>8} {'dE max':>7}  runs in"
    lines = [head]
    for row in rows:
        size = f"{row.width}x{row.height}"
        start = f"{row.effect:<14} {size:<9} {row.variant:<10} "
        if row.seconds:
            busy = f"{row.cpu_seconds:7.3f} {row.cpu_gain:6.2f}" if row.cpu_seconds else " " * 14
            lines.append(
                f"{start}{row.seconds:8.3f} {row.fps:8.2f} {row.gain:6.2f} {busy} "
                f"{row.peak_bytes / 2**20:9.0f} {row.error_mean:8.3f} {row.error_max:7.2f}"
                f"  {_runs_in(row)}"
            )
        else:
            lines.append(f"{start}not run")
        lines.extend(f"    {reason}" for reason in row.why_not)
    return "\n".join(lines)


def _runs_in(row: Row) -> str:
    """The format, and what else is on."""
    words = {
        "use_torch_compile": "compiled",
        "use_sage_attention": "sage",
        "correlation_sampler": "sampler",
    }
    more = [word for name, word in words.items() if row.effective.get(name)]
    return ", ".join([str(row.effective.get("precision", "")), *more])


def to_json(
    rows: Sequence[Row], facts: Facts, clip: Clip | None = None, weights: Mapping[str, str] = NONE
) -> dict[str, Any]:
    """Everything, with the machine and clip that it was measured on, and the weights' sources."""
    return {
        "schema": 2,
        "device": facts.to_json(),
        "clip": clip.name if clip else "",
        "frames": len(clip.lumas) if clip else 0,
        "weights": dict(weights),
        "rows": [asdict(row) | {"fps": row.fps} for row in rows],
    }


def plot(rows: Sequence[Row], path: Path) -> None:
    """Bars of frames per second, a group an effect and size, as a PNG; needs OpenCV.

    Raises ValueError when nothing was measured.
    """
    import cv2
    import numpy as np

    shown = [row for row in rows if row.seconds]
    if not shown:
        raise ValueError("rows: expected at least one that was measured, got none")
    step, left, right = 26, 330, 170
    groups = list(dict.fromkeys((row.effect, row.height, row.width) for row in shown))
    height = step * (len(shown) + 2 * len(groups) + 1)
    canvas = np.full((height, 960, 3), 255, np.uint8)
    longest, y = max(row.fps for row in shown), step

    def write(words: str, x: int, scale: float = 0.45) -> None:
        cv2.putText(
            canvas, words, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, (40, 40, 40), 1, cv2.LINE_AA
        )

    for effect, rows_high, columns in groups:
        write(f"{effect} at {columns}x{rows_high}, frames per second", 12, 0.55)
        y += step
        for row in shown:
            if (row.effect, row.height, row.width) != (effect, rows_high, columns):
                continue
            end = left + round((960 - left - right) * row.fps / longest)
            color = (170, 170, 170) if row.variant == "baseline" else (180, 120, 40)
            cv2.rectangle(canvas, (left, y - 14), (max(end, left + 1), y + 2), color, -1)
            write(f"{row.variant} ({row.effective.get('precision', '')})", 30)
            write(f"{row.fps:.2f}  x{row.gain:.2f}  dE {row.error_mean:.2f}", end + 8)
            y += step
        y += step
    encoded = cv2.imencode(".png", canvas)[1]
    path.write_bytes(encoded.tobytes())


def synthetic_clip(height: int, width: int, frames: int) -> Clip:
    """Moving shapes with texture, for machines without footage; the same on every machine."""
    lab = [_synthetic(height, width, number) for number in range(frames + 1)]
    exemplar = Exemplar(lab[0][:, :1], lab[0][:, 1:])
    return Clip("synthetic", tuple(frame[:, :1] for frame in lab[1:]), exemplar)


def footage_clip(movie: Path, exemplar: Path, height: int, width: int, frames: int) -> Clip:
    """The first frames of a movie, cropped to the aspect of the size and scaled, and a still.

    Raises ValueError when the movie has no frame; what PyAV raises when a file does not open.
    """
    import av

    pictures = []
    for path, count in ((movie, frames), (exemplar, 1)):
        with av.open(str(path)) as container:
            decoded = islice(container.decode(video=0), count)
            pictures.append([frame.to_ndarray(format="rgb24") for frame in decoded])
    if not all(pictures):
        raise ValueError(f"{movie.name}, {exemplar.name}: expected a frame in each, got none")
    labs = [[_lab(torch.from_numpy(rgb), height, width) for rgb in part] for part in pictures]
    still = labs[1][0]
    lumas = tuple(frame[:, :1] for frame in labs[0])
    return Clip(movie.stem, lumas, Exemplar(still[:, :1], still[:, 1:]))


@dataclass(frozen=True)
class _Run:
    chroma: list[Tensor]
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    warm_up_s: float
    fallbacks: tuple[Any, ...]


def _run(plan: Plan, build: Build, clip: Clip, clock: Callable[[], float]) -> _Run:
    facts, (height, width) = plan.facts, clip.size
    heap.apply(facts)
    gc.collect()
    held = device.reset_peak(facts) if _has_peak(facts) else 0
    compiler = plan.build_compiler()
    if compiler is not None:
        compiler.clock = time.process_time if facts.kind == "cpu" else clock
    with torch.inference_mode():
        began = clock()
        shot = build(plan, plan.memory_for(height, width), compiler)
        warm_up(shot, clip, compiler)
        shot.begin([clip.exemplar])
        warm_up_s = clock() - began
        chroma, times, busy = [], [], []
        for index, luma in enumerate(clip.lumas):
            device.wait(facts)
            start, cpu = clock(), time.process_time()
            chroma.append(shot.step(luma, index=index).chroma)
            device.wait(facts)
            times.append(clock() - start)
            busy.append(time.process_time() - cpu)
    peak = device.peak_bytes(facts) - held if _has_peak(facts) else 0
    fallbacks = [o for o in compiler.outcomes if o.code != "compiled"] if compiler else []
    return _Run(
        [c.cpu() for c in chroma],
        _steady(times),
        _steady(busy) if facts.kind == "cpu" else 0.0,
        peak,
        warm_up_s,
        tuple(fallbacks),
    )


def _steady(times: Sequence[float]) -> float:
    """The median without the first frame, which also encodes the exemplar."""
    kept = sorted(times[1:] or times)
    return kept[(len(kept) - 1) // 2]


def warm_up(shot: Propagator, clip: Clip, compiler: Compiler | None) -> None:
    """All compilation, on the clip's own shapes; the shot begins anew afterwards."""
    if compiler is None:
        return
    with compiler.warming():
        shot.begin([clip.exemplar])
        for index, luma in enumerate(clip.lumas[:2]):
            shot.step(luma, index=index)


def _errors(clip: Clip, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> tuple[float, float]:
    """Mean and largest CIEDE2000 over all frames; luma is the plate's own in both."""
    differences = [
        ciede2000(torch.cat((luma, a.float()), 1), torch.cat((luma, b.float()), 1))
        for luma, a, b in zip(clip.lumas, found, wanted, strict=True)
    ]
    every = torch.stack(differences)
    return float(every.mean()), float(every.max())


def _has_peak(facts: Facts) -> bool:
    return facts.kind == "cuda" or (facts.kind == "cpu" and facts.system == "Linux")


def _lab(rgb: Tensor, height: int, width: int) -> Tensor:
    """rgb: (H0, W0, 3) uint8. Returns (1, 3, height, width) Lab of its center."""
    rows, columns = rgb.shape[:2]
    kept_rows = min(rows, columns * height // width)
    kept_columns = min(columns, rows * width // height)
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    kept = rgb[top : top + kept_rows, left : left + kept_columns].permute(2, 0, 1)[None]
    scaled = F.interpolate(kept.float() / 255, (height, width), mode="bilinear", antialias=True)
    return rgb_to_lab(scaled)


def _synthetic(height: int, width: int, number: int) -> Tensor:
    """(1, 3, H, W) Lab: two drifting waves, a texture, and a disc of its own color."""
    y = torch.arange(height, dtype=torch.float32)[:, None]
    x = torch.arange(width, dtype=torch.float32)[None, :]
    texture = torch.sin(x * 0.9) * torch.sin(y * 1.1)
    wave = torch.sin((x + 3 * number) / 37) + torch.cos((y - 2 * number) / 29)
    disc = ((x - width / 2 - 4 * number) ** 2 + (y - height / 2) ** 2 < (height / 5) ** 2).float()
    luma = 50 + 14 * wave + 4 * texture + 12 * disc
    return torch.stack((luma, 25 * wave + 40 * disc, 30 * torch.cos(wave * 2) - 25 * disc))[None]
