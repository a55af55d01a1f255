"""Does the planner predict the peak? Predicted against measured bytes for sizes and modes.

    python benchmarks/accel_memory.py colormnet
    python benchmarks/accel_memory.py deep_exemplar --precision bf16
    python benchmarks/accel_memory.py colormnet --unseen --case 0

CASES are what the planner's coefficients were fitted to. UNSEEN are other sizes, to check that they
predict; they go into accel_memory_unseen.json, row by row, and a test reads that file.

Measured is the process's resident peak (on CUDA the allocator's) over what was held before the
network was built. ColorMNet's bank is filled with random elements up to what its mode holds, so
that the measured step is the largest of a long shot. Results of CASES go to
benchmarks/results/accel_memory_EFFECT_PRECISION.json.
"""

from __future__ import annotations

import argparse
import gc
import json
from pathlib import Path
from typing import Any

import torch
from accel_networks import EFFECTS, build, prepare

from accel import device
from accel.device import Facts, probe
from accel.memory import MIB, MemoryPlan
from accel.plan import Plan, Switches, make_plan
from bridge_server.bench import synthetic_clip
from models.colormnet.propagator import ColorMNetPropagator
from models.colormnet.store import Elements

RESULTS = Path(__file__).resolve().parent / "results"
CASES = {
    "colormnet": [
        (224, 224, {"memory_mode": "low_memory"}),
        (224, 448, {"memory_mode": "high_quality"}),
        (336, 448, {"memory_mode": "low_memory"}),
        (336, 448, {"memory_mode": "balanced"}),
        (448, 560, {"memory_mode": "balanced"}),
        (448, 560, {"memory_mode": "high_quality"}),
    ],
    "deep_exemplar": [
        (216, 384, {"use_half_resolution": True}),
        (216, 384, {"use_half_resolution": False}),
        (432, 576, {"use_half_resolution": True}),
        (432, 576, {"use_half_resolution": False}),
        (432, 768, {"use_half_resolution": True}),
        (432, 768, {"use_half_resolution": False}),
    ],
}
UNSEEN = {
    "colormnet": [
        (240, 320, {"memory_mode": "balanced"}),
        (336, 560, {"memory_mode": "low_memory"}),
        (432, 768, {"memory_mode": "balanced"}),
    ],
    "deep_exemplar": [
        (288, 512, {"use_half_resolution": False}),
        (480, 640, {"use_half_resolution": True}),
        (360, 480, {"use_half_resolution": False}),
    ],
    "starter": [(270, 480, {}), (480, 640, {}), (480, 854, {})],
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Predicted against measured peak memory.")
    parser.add_argument("effect", choices=EFFECTS)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--unseen", action="store_true")
    parser.add_argument("--case", action="append", type=int, help="which rows; default all")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    facts = probe(arguments.device)
    prepare(arguments.effect)
    rows = []
    print("size       mode            weights  intermed.  state  workspace  predicted  measured")
    cases = (UNSEEN if arguments.unseen else CASES)[arguments.effect]
    for number in arguments.case or range(len(cases)):
        height, width, switches = cases[number]
        asked = Switches(
            precision=arguments.precision,
            use_torch_compile="off",
            **switches,  # type: ignore[arg-type]
        )
        plan = make_plan(facts, arguments.effect, asked)
        memory = plan.memory_for(height, width, free_bytes=2**40)
        rows.append(_row(plan, memory, facts))
        print(_line(rows[-1]), flush=True)
    name = f"accel_memory_{arguments.effect}_{arguments.precision}.json"
    named = [{"effect": arguments.effect, "precision": arguments.precision} | row for row in rows]
    if arguments.unseen:
        name = "accel_memory_unseen.json"
    _save(RESULTS / name, named if arguments.unseen else rows, facts)


def _save(path: Path, rows: list[dict[str, Any]], facts: Facts) -> None:
    """Rows of the same effect, format, size and mode replace older ones."""
    old = json.loads(path.read_text())["rows"] if path.is_file() else []
    ours = [_name(row) for row in rows]
    kept = [row for row in old if _name(row) not in ours]
    path.write_text(json.dumps({"device": facts.to_json(), "rows": kept + rows}, indent=1) + "\n")


def _name(row: dict[str, Any]) -> list[Any]:
    return [row.get(name) for name in ("effect", "precision", "height", "width", "mode")]


def _row(plan: Plan, memory: MemoryPlan, facts: Facts) -> dict[str, Any]:
    gc.collect()
    clip = synthetic_clip(memory.height, memory.width, 2)
    held = device.reset_peak(facts)
    with torch.inference_mode():
        shot = build(plan, memory, None)
        shot.begin([clip.exemplar])
        shot.step(clip.lumas[0], index=0)
        if isinstance(shot, ColorMNetPropagator):
            _fill(shot, memory)
        shot.step(clip.lumas[1], index=1)
    measured = device.peak_bytes(facts) - held
    prediction = memory.prediction
    own = measured - shot.nbytes
    return {
        "height": memory.height,
        "width": memory.width,
        "mode": _mode(memory),
        "weights": prediction.weights,
        "intermediate": prediction.intermediate,
        "state": prediction.state,
        "state_measured": shot.nbytes,
        "workspace": prediction.workspace,
        "predicted": prediction.total,
        "measured": measured,
        "measured_without_state": own,
        "ratio": prediction.total / measured,
    }


def _mode(memory: MemoryPlan) -> str | bool | None:
    if memory.workload.has_modes:
        return memory.mode.name
    return memory.half_resolution if memory.workload.has_half else None


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
    parts = ("weights", "intermediate", "state", "workspace", "predicted", "measured")
    figures = "  ".join(f"{row[name] / MIB:8.0f}" for name in parts)
    size = f"{row['height']}x{row['width']}"
    return (
        f"{size:<10} {row['mode']!s:<13} {figures}  ratio {row['ratio']:.2f}"
        f"  (state really {row['state_measured'] / MIB:.0f},"
        f" rest {row['measured_without_state'] / MIB:.0f})"
    )


if __name__ == "__main__":
    main()
