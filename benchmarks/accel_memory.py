"""Does the planner predict the peak? Predicted against measured bytes for sizes and modes.

    python benchmarks/filled_home.py HOME
    python benchmarks/accel_memory.py HOME colormnet --precision bf16
    python benchmarks/accel_memory.py HOME deep_exemplar --unseen

CASES are what the planner's coefficients were fitted to; UNSEEN are other sizes, never used for
that, to check that they predict. Both go into accel_memory.json, row by row; a test reads that file
and asks the planner again.

Each row is a process of its own, which loads an effect as a worker does. Measured is its peak of
resident memory (on CUDA the allocator's) over what was held before loading: `loading` up to then,
`measured` over all. ColorMNet's bank is filled with random elements up to what its mode holds, so
that the measured step is the largest of a long shot. Rows in bf16 all count as fitted: their UNSEEN
ones were in view when coefficients were chosen.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from accel import device, heap
from accel.device import Facts, probe
from accel.memory import MIB, MemoryPlan
from accel.plan import Switches, make_plan
from bridge_server.bench import synthetic_clip
from bridge_server.effects import registry
from bridge_server.effects.effect import LoadRequest
from models.colormnet.propagator import ColorMNetPropagator
from models.colormnet.store import Elements

RESULTS = Path(__file__).resolve().parent / "results" / "accel_memory.json"
EFFECTS = ("colormnet", "deep_exemplar", "starter")
Case = tuple[int, int, str | bool | None]  # height, width, memory mode or half resolution
CASES: dict[str, list[Case]] = {
    "colormnet": [
        (224, 224, "low_memory"),
        (224, 448, "high_quality"),
        (336, 448, "low_memory"),
        (336, 448, "balanced"),
        (448, 560, "balanced"),
        (448, 560, "high_quality"),
    ],
    "deep_exemplar": [
        (216, 384, True),
        (216, 384, False),
        (432, 576, True),
        (432, 576, False),
        (432, 768, True),
        (432, 768, False),
        (288, 512, False),
        (480, 640, True),
        (360, 480, False),
        (480, 640, False),
        (540, 960, True),
        (320, 320, True),
    ],
    "starter": [
        (180, 320, None),
        (270, 480, None),
        (360, 640, None),
        (480, 854, None),
        (540, 960, None),
        (720, 1280, None),
    ],
}
UNSEEN: dict[str, list[Case]] = {
    "colormnet": [
        (240, 320, "balanced"),
        (336, 560, "low_memory"),
        (432, 768, "balanced"),
        (480, 640, "high_quality"),
        (432, 768, "low_memory"),
        (288, 512, "high_quality"),
    ],
    "deep_exemplar": [
        (270, 480, False),
        (384, 512, True),
        (256, 448, False),
        (400, 720, True),
    ],
    "starter": [
        (240, 320, None),
        (288, 512, None),
        (480, 640, None),
        (432, 768, None),
        (576, 1024, None),
        (1080, 1920, None),
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Predicted against measured peak memory.")
    parser.add_argument("home", type=Path, help="made by filled_home.py")
    parser.add_argument("effect", choices=EFFECTS)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--unseen", action="store_true")
    parser.add_argument("--case", action="append", type=int, help="which rows; default all")
    arguments = parser.parse_args()
    if arguments.case is not None and len(arguments.case) == 1:
        _one(arguments, arguments.case[0])
        return
    for number in arguments.case or range(len(_cases(arguments))):
        subprocess.run([sys.executable, *sys.argv, "--case", str(number)], check=True)


def _cases(arguments: argparse.Namespace) -> list[Case]:
    effect: str = arguments.effect
    return (UNSEEN if arguments.unseen else CASES)[effect]


def _one(arguments: argparse.Namespace, number: int) -> None:
    """Measure a row, print it and put it into the file of results."""
    torch.set_num_threads(1)
    facts = probe(arguments.device)
    height, width, mode = _cases(arguments)[number]
    named = {
        "effect": arguments.effect,
        "precision": arguments.precision,
        "height": height,
        "width": width,
        "mode": mode,
    }
    fitted = not arguments.unseen or arguments.precision == "bf16"
    row = named | {"fitted": fitted} | _measured(arguments.home, facts, named)
    print(_line(row), flush=True)
    old = json.loads(RESULTS.read_text())["rows"] if RESULTS.is_file() else []
    kept = [other for other in old if any(other[name] != named[name] for name in named)]
    rows = sorted((*kept, row), key=lambda row: [str(row[name]).zfill(4) for name in named])
    RESULTS.write_text(json.dumps({"device": facts.to_json(), "rows": rows}, indent=1) + "\n")


def _measured(home: Path, facts: Facts, named: dict[str, Any]) -> dict[str, Any]:
    mode = named["mode"]
    asked = Switches(
        precision=named["precision"],
        use_torch_compile="off",
        memory_mode=mode if isinstance(mode, str) else "auto",
        use_half_resolution=mode if isinstance(mode, bool) else None,
    )
    plan = make_plan(facts, named["effect"], asked)
    memory = plan.memory_for(named["height"], named["width"], free_bytes=2**40)
    effect = registry.find(named["effect"])
    values = effect.describe_in_context("filter").effective({})
    clip = synthetic_clip(memory.height, memory.width, 2)
    heap.apply(facts)
    gc.collect()
    held = device.reset_peak(facts)
    with torch.inference_mode():
        loaded = effect.load(LoadRequest(plan, home, values))
        loading = device.peak_bytes(facts) - held
        shot = effect.propagator(loaded, values, memory)
        shot.begin([clip.exemplar])
        shot.step(clip.lumas[0], index=0)
        if isinstance(shot, ColorMNetPropagator):
            _fill(shot, memory)
        shot.step(clip.lumas[1], index=1)
    return {
        "loading": loading,
        "state": shot.nbytes,
        "measured": device.peak_bytes(facts) - held,
        "predicted": memory.prediction.total,
    }


def _fill(shot: ColorMNetPropagator, memory: MemoryPlan) -> None:
    """Random elements in both parts of the bank, up to what the mode holds."""
    bank = shot._bank
    like = bank.work.elements(0, 1)

    def random(count: int) -> Elements:
        rows = {
            name: torch.rand(count, *getattr(like, name).shape[1:]).to(getattr(like, name).dtype)
            for name in ("key", "shrinkage", "selection", "value", "trust")
        }
        return Elements(**rows)

    bank.long.append(random(memory.mode.max_long_term_elements - len(bank.long)))
    frames = memory.mode.max_mid_term_frames * bank.frame_elements
    while sum(bank.sizes[:1]) < frames - bank.frame_elements:
        bank.work.append(random(bank.frame_elements))


def _line(row: dict[str, Any]) -> str:
    size = f"{row['height']}x{row['width']}"
    start = f"{row['effect']:<14}{row['precision']:<6}{size:<10}{row['mode']!s:<13}"
    parts = ("loading", "state", "measured", "predicted")
    figures = "  ".join(f"{name} {row[name] / MIB:5.0f}" for name in parts)
    return f"{start}{figures}  ratio {row['predicted'] / row['measured']:.2f}"


if __name__ == "__main__":
    main()
