"""What keeping the heap gains: a network's step with freed memory kept in the process, and without.

    python benchmarks/accel_heap.py
    python benchmarks/accel_heap.py --case colormnet:fast:432x768:6 --rounds 2

A case is CASE:SETTING:SIZE:FRAMES of benchmarks/step.py. Each run is a process of its own, since a
heap that was kept cannot be unkept; the two take turns. Reported: median wall time and least
processor time of a step over all rounds, page faults of the last step, and the most memory that a
process held. Result: benchmarks/results/accel_heap.json. Linux with glibc only.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import step
import torch

from accel import heap
from accel.device import probe

RESULT = Path(__file__).resolve().parent / "results" / "accel_heap.json"
CASES = (
    "colormnet:exact:432x768:4",
    "colormnet:fast:432x768:6",
    "deep_exemplar:exact:216x384:6",
    "deep_exemplar:fast:216x384:8",
    "starter:bf16:480x854:25",
)


def main() -> None:
    arguments = _arguments()
    if arguments.one is not None:
        _one(arguments.case[0], arguments.one, arguments.threads)
        return
    rows = []
    for case in arguments.case or CASES:
        runs: dict[str, list[dict[str, Any]]] = {"system": [], "kept": []}
        for _ in range(arguments.rounds):
            for how, found in runs.items():
                command = [sys.executable, __file__, "--case", case, "--one", how]
                command += ["--threads", str(arguments.threads)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found.append(json.loads(done.stdout.splitlines()[-1]))
        row = {"case": case} | {how: _joined(found) for how, found in runs.items()}
        row["gain"] = round(row["system"]["seconds"] / row["kept"]["seconds"], 3)
        row["cpu_gain"] = round(row["system"]["cpu_seconds"] / row["kept"]["cpu_seconds"], 3)
        rows.append(row)
        print(json.dumps(row), flush=True)
    told = {
        "device": probe("cpu").to_json(),
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "rows": rows,
    }
    RESULT.write_text(json.dumps(told, indent=1) + "\n")


def _one(case: str, how: str, threads: int) -> None:
    """Step a network in this process and print what it took."""
    name, setting, size, frames = case.split(":")
    height, width = map(int, size.split("x"))
    if how == "kept":
        heap.keep()
    torch.set_num_threads(threads)
    device = torch.device("cpu")
    seconds, busy, faults = [], [], 0
    with torch.inference_mode():
        propagator = step.load_case(name).build(setting, device)
        propagator.begin([step.exemplar(height, width, device)])
        for index in range(int(frames)):
            luma = step.clip_luma(height, width, index)
            faulted = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            start, cpu = time.perf_counter(), time.process_time()
            propagator.step(luma, index=index)
            seconds.append(time.perf_counter() - start)
            busy.append(time.process_time() - cpu)
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faulted
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    told = {"seconds": seconds[1:], "cpu_seconds": busy[1:], "faults": faults, "peak_mib": peak}
    print(json.dumps(told))


def _joined(runs: list[dict[str, Any]]) -> dict[str, Any]:
    every = [value for run in runs for value in run["seconds"]]
    busy = [value for run in runs for value in run["cpu_seconds"]]
    return {
        "seconds": round(statistics.median(every), 4),
        "cpu_seconds": round(min(busy), 4),
        "faults": runs[-1]["faults"],
        "peak_mib": max(run["peak_mib"] for run in runs),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A step with the heap kept, and without.")
    parser.add_argument("--case", action="append", help="CASE:SETTING:SIZE:FRAMES")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", choices=("system", "kept"), help="this process only")
    return parser.parse_args()


if __name__ == "__main__":
    main()
