"""What each switch gains and costs: the library behind `chromabridge bench`, on filled weights.

    python benchmarks/accel_switches.py colormnet --size 480x640 --frames 3
    python benchmarks/accel_switches.py deep_exemplar --variant baseline --variant all

Weights are random but fixed, so errors are a pessimistic stand-in for those of trained weights.
Times are CPU time of the process when --cpu-time is given: on a machine that others use, wall time
measures the others. Results go to benchmarks/results/accel_switches_EFFECT_SIZE.json and .png.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from accel_networks import EFFECTS, build, prepare

from accel.compiling import use_cache
from accel.device import probe
from bridge_server import bench

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    if arguments.cache:
        use_cache(arguments.cache)
    facts = probe(arguments.device)
    height, width = map(int, arguments.size.split("x"))
    variants = {
        name: switches
        for name, switches in bench.VARIANTS.items()
        if not arguments.variant or name in arguments.variant
    }
    if arguments.half_resolution is not None:
        half = arguments.half_resolution == "on"
        variants = {n: replace(s, use_half_resolution=half) for n, s in variants.items()}
    prepare(arguments.effect)
    clip = bench.synthetic_clip(height, width, arguments.frames)
    rows = []
    for row in bench.measure(
        arguments.effect,
        build,
        facts,
        clip,
        variants=variants,
        clock=time.process_time if arguments.cpu_time else time.perf_counter,
    ):
        rows.append(row)
        print(bench.text([row]).splitlines()[1], *row.why_not, sep="\n    ", flush=True)
    record = bench.to_json(rows, facts)
    record["frames"], record["clip"] = arguments.frames, clip.name
    record["clock"] = "process time" if arguments.cpu_time else "wall"
    RESULTS.mkdir(exist_ok=True)
    stem = RESULTS / f"accel_switches_{arguments.effect}_{arguments.size}"
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    bench.plot(rows, stem.with_suffix(".png"))
    print(bench.text(rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What each switch gains and costs.")
    parser.add_argument("effect", choices=EFFECTS)
    parser.add_argument("--size", default="432x768", metavar="HxW")
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--variant", action="append", choices=list(bench.VARIANTS))
    parser.add_argument("--half-resolution", choices=("on", "off"))
    parser.add_argument("--cache", type=Path, help="where compiled code is kept")
    parser.add_argument("--cpu-time", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
