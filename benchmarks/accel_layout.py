"""What channels last gives: processor time of a step with it against torch's plain layout.

    python benchmarks/accel_layout.py

Both run in turns in one process, on one thread; the plain one is built and stepped while the
networks' wish for channels last is answered with the plain layout. Filled weights for the official
networks. Seconds are the least of the frames; results go to benchmarks/results/accel_layout.json.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from step import clip_luma, exemplar, load_case, machine_facts

CASES = (
    ("starter", "fp32", 480, 854),
    ("starter", "bf16", 480, 854),
    ("colormnet", "exact", 224, 448),
    ("colormnet", "fast", 224, 448),
    ("deep_exemplar", "balanced", 216, 384),
    ("deep_exemplar", "fast", 216, 384),
)
FRAMES, WARM_UP = 4, 1
OUT = Path(__file__).resolve().parent / "results" / "accel_layout.json"


def main() -> None:
    """Measure all cases; print and write them."""
    torch.set_num_threads(1)
    device = torch.device("cpu")
    rows = []
    for case, setting, height, width in CASES:
        last, plain = measure(case, setting, height, width, device)
        rows.append(
            {
                "case": case,
                "setting": setting,
                "size": f"{height}x{width}",
                "cpu_seconds_channels_last": round(last, 4),
                "cpu_seconds_plain": round(plain, 4),
                "times": round(plain / last, 3),
            }
        )
        print(rows[-1], flush=True)
    OUT.write_text(json.dumps({**machine_facts(device), "rows": rows}, indent=1) + "\n")


def measure(
    case: str, setting: str, height: int, width: int, device: torch.device
) -> tuple[float, float]:
    """Least processor seconds of a step: with channels last, and with the plain layout."""
    layouts = (nullcontext, plain_layout)
    propagators, best = [], [float("inf")] * 2
    for layout in layouts:
        with layout(), torch.inference_mode():
            propagator = load_case(case).build(setting, device)
            propagator.begin([exemplar(height, width, device)])
            propagators.append(propagator)
    for index in range(WARM_UP + FRAMES):
        luma = clip_luma(height, width, index)
        for which, (layout, propagator) in enumerate(zip(layouts, propagators, strict=True)):
            with layout(), torch.inference_mode():
                began = time.process_time()
                propagator.step(luma, index=index)
                spent = time.process_time() - began
            if index >= WARM_UP:
                best[which] = min(best[which], spent)
    return best[0], best[1]


@contextmanager
def plain_layout() -> Iterator[None]:
    """Whoever asks for channels last inside is given the plain layout."""
    kept = torch.channels_last
    torch.channels_last = torch.contiguous_format  # type: ignore[misc]
    try:
        yield
    finally:
        torch.channels_last = kept  # type: ignore[misc]


if __name__ == "__main__":
    main()
