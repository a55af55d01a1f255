"""Attention, correlation and planning alone: every candidate that runs here, against the reference.

    python benchmarks/accel_kernels.py --cpu-time

Shapes are those of ColorMNet at 480 x 640 and, for the correlation, 1080p too. Candidates take
turns; figures are the minimum of several. Results go to benchmarks/results/accel_kernels.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accel import device
from accel.attention import plain, sdpa
from accel.correlation import SAMPLER, torch_correlation
from accel.device import Facts, probe
from accel.plan import Switches, make_plan

RESULTS = Path(__file__).resolve().parent / "results"
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description="Kernels alone.")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu-time", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    facts = probe(arguments.device)
    rows: list[dict[str, Any]] = []
    with torch.inference_mode():
        for dtype in (torch.float32, torch.bfloat16):
            q, k, v = torch.randn(3, 1, 6, 1921, 64, device=facts.device).to(dtype).unbind()
            attentions = {"plain": plain, "sdpa": sdpa}
            made = {name: _bound(f, q, k, v) for name, f in attentions.items()}
            rows += _compare(f"attention 1921 tokens {str(dtype)[6:]}", made, facts, clock)
        for height, width in ((35, 42), (70, 126)):
            query, key = torch.randn(2, 1, 64, height, width, device=facts.device).unbind()
            correlations: dict[str, Callable[..., Tensor]] = {"torch": torch_correlation}
            if not SAMPLER.why_not(facts):
                correlations["sampler"] = SAMPLER.build(facts)
            made = {name: _bound(f, query, key, radius=7) for name, f in correlations.items()}
            rows += _compare(f"correlation {height}x{width}", made, facts, clock)
    plans = {"make_plan and memory_for": lambda: _plan(facts)}
    rows += _compare("plan", plans, facts, clock)
    RESULTS.mkdir(exist_ok=True)
    record = {"device": facts.to_json(), "clock": clock.__name__, "rows": rows}
    (RESULTS / "accel_kernels.json").write_text(json.dumps(record, indent=1) + "\n")


def _bound(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[[], Any]:
    return lambda: function(*args, **kwargs)


def _plan(facts: Facts) -> Any:
    plan = make_plan(facts, "colormnet", Switches(use_torch_compile="on"))
    return plan.memory_for(1080, 1920)


def _compare(
    what: str,
    candidates: Mapping[str, Callable[[], Any]],
    facts: Facts,
    clock: Callable[[], float],
) -> list[dict[str, Any]]:
    """The first candidate is the reference of errors and gains."""
    best = dict.fromkeys(candidates, float("inf"))
    wanted = next(iter(candidates.values()))()
    rows = []
    for _ in range(ROUNDS):
        for name, run in candidates.items():
            start = clock()
            run()
            device.wait(facts)
            best[name] = min(best[name], clock() - start)
    first = next(iter(best.values()))
    for name, run in candidates.items():
        row = {"what": what, "candidate": name, "ms": best[name] * 1e3, "gain": first / best[name]}
        if isinstance(wanted, Tensor):
            apart = (run().float() - wanted.float()).norm() / wanted.float().norm()
            row["relative_error"] = float(apart)
        rows.append(row)
        print(f"{what:<34} {name:<24} {row['ms']:9.2f} ms  x{row['gain']:.2f}", flush=True)
    return rows


if __name__ == "__main__":
    main()
