"""How long one step of a network takes, what it costs, and how far each setting is from the first.

    python benchmarks/step.py colormnet
    python benchmarks/step.py starter --size 432x768 --size 1080x1920 --frames 9 --threads 2
    python benchmarks/step.py deep_exemplar --setting exact --setting fast --device cuda

A case is a file benchmarks/step_cases/NAME.py, loaded by its path, that offers

    settings() -> Sequence[str]
        The names that build() knows. The first is what the others' error is measured against.
    build(setting: str, device: torch.device) -> Propagator
        A ready propagator (models/propagator.py) with weights that are a pure function of their
        names (tests/network/fill_weights.py) or the ones that ship. Build shared networks once.
    SIZES: Sequence[tuple[int, int]]          optional: heights and widths measured by default

and, if a setting has one-off work (compiling, folding), does it in build or in the first frames:
`--warmup` frames are stepped before anything is timed.

Frames and the exemplar are formulas, so every machine measures the same pictures. Per setting and
size: seconds per step (median and minimum over the frames; the settings take turns frame by frame,
so that a busy machine slows all of them alike), the first setting's median over this one's, the
least processor time of a step (which other programs disturb less; of all threads), FLOPs
of the last frame by torch.utils.flop_counter (multiply-add = 2; kernels that the counter does not
know are missing), the peak of memory during a step above what was resident before it, the state's
bytes, and the error of the chroma against the first setting over all frames: PSNR with a peak of
220 (the range -110..110), greatest and mean absolute difference in units of a and b.
Everything is also written to benchmarks/results/step_NAME.json.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib.util
import json
import math
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from accel import heap
from accel.device import probe
from models.propagator import Exemplar, Propagator

HERE = Path(__file__).resolve().parent
DEFAULT_SIZES = ((432, 768),)


def main() -> None:
    """Measure the named case and print and write the table."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    case = load_case(arguments.case)
    names = arguments.setting or list(case.settings())
    sizes = arguments.size or list(getattr(case, "SIZES", DEFAULT_SIZES))
    heap.apply(probe(arguments.device))  # as a worker does
    facts = machine_facts(device)
    print(f"{arguments.case} on {facts['device']}, torch {facts['torch']}, "
          f"{facts['threads']} threads, {arguments.frames} frames")  # fmt: skip
    rows: list[dict[str, Any]] = []
    for height, width in sizes:
        propagators = {name: case.build(name, device) for name in names}
        with torch.inference_mode():
            rows += measure(propagators, height, width, arguments.frames, arguments.warmup, device)
        del propagators
        _settle(device)
    print(table(rows))
    out = arguments.out or HERE / "results" / f"step_{arguments.case}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"case": arguments.case, **facts, "rows": rows}, indent=1) + "\n")


def measure(
    propagators: dict[str, Propagator],
    height: int,
    width: int,
    frames: int,
    warmup: int,
    device: torch.device,
) -> list[dict[str, Any]]:
    """Step all propagators through one clip in turns and return one row per setting."""
    seconds: dict[str, list[float]] = {name: [] for name in propagators}
    busy: dict[str, list[float]] = {name: [] for name in propagators}
    peaks: dict[str, list[int]] = {name: [] for name in propagators}
    flops: dict[str, int] = {}
    errors = {name: _Error() for name in propagators}
    for propagator in propagators.values():
        propagator.begin([exemplar(height, width, device)])
    for index in range(warmup + frames + 1):
        luma = clip_luma(height, width, index).to(device)
        first: Tensor | None = None
        for name, propagator in propagators.items():
            if index == warmup + frames:  # an extra frame, not timed: counting has a cost
                with FlopCounterMode(display=False) as counter:
                    chroma = propagator.step(luma, index=index).chroma
                flops[name] = counter.get_total_flops()
            else:
                with _peak(device) as peak:
                    worked = time.process_time()
                    started = _now(device)
                    chroma = propagator.step(luma, index=index).chroma
                    elapsed = _now(device) - started
                if index >= warmup:
                    seconds[name].append(elapsed)
                    busy[name].append(time.process_time() - worked)
                    peaks[name].append(peak.bytes)
            first = chroma if first is None else first
            errors[name].add(chroma - first)
    rows, base = [], statistics.median(next(iter(seconds.values())))
    for name, propagator in propagators.items():
        median = statistics.median(seconds[name])
        rows.append(
            {
                "setting": name,
                "size": f"{height}x{width}",
                "frames": frames,
                "seconds_median": round(median, 4),
                "seconds_min": round(min(seconds[name]), 4),
                "times_first": round(base / median, 3),
                "cpu_seconds_min": round(min(busy[name]), 4),
                "gflop": round(flops[name] / 1e9, 1),
                "peak_mib": round(max(peaks[name]) / 2**20) if max(peaks[name]) >= 0 else None,
                "state_mib": round(propagator.nbytes / 2**20, 1),
                **errors[name].figures(),
            }
        )
    return rows


def clip_luma(height: int, width: int, index: int) -> Tensor:
    """Frame `index` of a moving test clip: (1, 1, H, W) float32, CIE L in [0, 100]."""
    y, x = np.mgrid[0:height, 0:width]
    waves = 0.40 * _wave(3 * x + y + 5 * index, 61) + 0.25 * _wave(2 * y - x + 7 * index, 47)
    texture = 0.15 * _wave(11 * x + 13 * y, 9)
    center_y, center_x = (height // 3 + 3 * index) % height, (width // 4 + 6 * index) % width
    disc = (y - center_y) ** 2 + (x - center_x) ** 2 < (min(height, width) // 5) ** 2
    luma = 100.0 * (waves + texture + 0.20 * disc)
    return torch.from_numpy(luma.astype(np.float32))[None, None]


def exemplar(height: int, width: int, device: torch.device) -> Exemplar:
    """An exemplar for the test clip: colors of another picture, within -80..80."""
    y, x = np.mgrid[0:height, 0:width]
    chroma = np.stack(
        (160.0 * _wave(2 * x + 3 * y, 83) - 80.0, 140.0 * _wave(5 * x - 2 * y, 71) - 70.0)
    )
    planes = torch.from_numpy(chroma.astype(np.float32))[None]
    return Exemplar(clip_luma(height, width, 40).to(device), planes.to(device), digest="formula")


def load_case(name: str) -> ModuleType:
    """Load benchmarks/step_cases/NAME.py by its path. Raises FileNotFoundError with the choices."""
    path = HERE / "step_cases" / f"{name}.py"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.py")))
        raise FileNotFoundError(f"no case {name!r}; there are: {known}")
    spec = importlib.util.spec_from_file_location(f"step_case_{name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path.name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def machine_facts(device: torch.device) -> dict[str, Any]:
    """What a reader needs to compare figures: device, versions, threads."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        info = Path("/proc/cpuinfo")
        lines = info.read_text().splitlines() if info.is_file() else []
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else platform.processor() or platform.machine()
    return {
        "device": name,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as aligned text."""
    columns = list(rows[0])
    cells = [columns] + [["-" if row[c] is None else str(row[c]) for c in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in cells
    )


class _Error:
    """Running differences of chroma, in units of a and b."""

    def __init__(self) -> None:
        self.squares, self.absolute, self.greatest, self.count = 0.0, 0.0, 0.0, 0

    def add(self, difference: Tensor) -> None:
        d = difference.double()
        self.squares += float((d * d).sum())
        self.absolute += float(d.abs().sum())
        self.greatest = max(self.greatest, float(d.abs().max()))
        self.count += d.numel()

    def figures(self) -> dict[str, float | None]:
        mean_square = self.squares / self.count
        psnr = 10.0 * math.log10(220.0**2 / mean_square) if mean_square else None
        return {
            "psnr_db": None if psnr is None else round(psnr, 2),
            "max_abs": float(f"{self.greatest:.3g}"),
            "mean_abs": float(f"{self.absolute / self.count:.3g}"),
        }


class _Peak:
    bytes = -1  # unknown on this system


@contextmanager
def _peak(device: torch.device) -> Iterator[_Peak]:
    """Peak memory inside the block above what was held before it."""
    peak = _Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        yield peak
        return
    _settle(device)
    clear.write_text("5")  # resets the high-water mark of resident memory
    before = _status("VmRSS")
    yield peak
    peak.bytes = max(0, _status("VmHWM") - before)


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _settle(device: torch.device) -> None:
    """Give freed memory back to the system, so that the next peak counts only its own."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif platform.system() == "Linux":
        ctypes.CDLL(None).malloc_trim(0)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _wave(n: np.ndarray, half_period: int) -> np.ndarray:
    """Triangle wave of integers, values 0..1."""
    return np.abs((n % (2 * half_period)) - half_period) / float(half_period)


def _size(text: str) -> tuple[int, int]:
    height, width = text.lower().split("x")
    return int(height), int(width)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("case", help="a file of benchmarks/step_cases, without .py")
    parser.add_argument("--setting", action="append", help="only these, in this order")
    parser.add_argument("--size", action="append", type=_size, metavar="HxW")
    parser.add_argument("--frames", type=int, default=7)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
