"""What this processor's matrix products reach at best: the roof over every ratio of formats.

    OMP_NUM_THREADS=1 python benchmarks/accel_roofline.py --cpu-time

A square product of 2048 is bound by arithmetic alone, a convolution of 256 channels by how well the
library uses it. Best of several, formats in turns. Result: benchmarks/results/accel_roofline.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from accel.device import probe

RESULT = Path(__file__).resolve().parent / "results" / "accel_roofline.json"
SIDE, CHANNELS, ROWS, COLUMNS = 2048, 256, 108, 192
FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    parser = argparse.ArgumentParser(description="GFLOP/s of products and convolutions.")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cpu-time", action="store_true", help="process time, on a busy machine")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    rows = []
    with torch.inference_mode():
        for what, flops, make in (
            ("product", 2 * SIDE**3, _product),
            ("convolution", 2 * 9 * CHANNELS**2 * ROWS * COLUMNS, _convolution),
        ):
            best = dict.fromkeys(FORMATS, float("inf"))
            work = {name: make(dtype) for name, dtype in FORMATS.items()}
            for _ in range(arguments.rounds):
                for name, run in work.items():
                    start = clock()
                    run()
                    best[name] = min(best[name], clock() - start)
            # process time adds up over threads, wall time does not
            lanes = arguments.threads if arguments.cpu_time else 1
            rates = {name: flops * lanes / seconds / 1e9 for name, seconds in best.items()}
            row = {"what": what, **rates, "ratio": rates["bf16"] / rates["fp32"]}
            rows.append(row)
            print(
                f"{what:<12} fp32 {row['fp32']:6.0f} GFLOP/s  bf16 {row['bf16']:6.0f} GFLOP/s  "
                f"ratio {row['ratio']:.2f}"
            )
    told = {
        "device": probe("cpu").to_json(),
        "threads": arguments.threads,
        "clock": "process time" if arguments.cpu_time else "wall",
        "rows": rows,
    }
    RESULT.write_text(json.dumps(told, indent=1) + "\n")


def _product(dtype: torch.dtype) -> Callable[[], object]:
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    return lambda: a @ b


def _convolution(dtype: torch.dtype) -> Callable[[], object]:
    last = torch.channels_last
    picture = torch.randn(1, CHANNELS, ROWS, COLUMNS).to(dtype).to(memory_format=last)
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3).to(dtype).to(memory_format=last)
    return lambda: F.conv2d(picture, weight, padding=1)


if __name__ == "__main__":
    main()
