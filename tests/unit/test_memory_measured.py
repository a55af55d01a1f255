"""The planner against measured peaks, those its coefficients were fitted to and others.

Rows are benchmarks/results/accel_memory.json, by benchmarks/accel_memory.py.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from accel.device import Facts
from accel.plan import Switches, make_plan

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "accel_memory.json"
ROWS: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["rows"]
CPU = Facts("cpu", "x", 2**40, 2**40, "2.14", cpu_features=frozenset({"avx512_bf16"}))
WITHIN = 0.2
PAIRS = [(e, p) for e in ("colormnet", "deep_exemplar", "starter") for p in ("fp32", "bf16")]


def predicted(row: dict[str, Any]) -> int:
    asked: dict[str, Any] = {"precision": row["precision"], "use_torch_compile": "off"}
    if row["effect"] == "colormnet":
        asked["memory_mode"] = row["mode"]
    elif row["effect"] == "deep_exemplar":
        asked["use_half_resolution"] = row["mode"]
    plan = make_plan(CPU, row["effect"], Switches(**asked))
    return plan.memory_for(row["height"], row["width"]).prediction.total


@pytest.mark.parametrize(("effect", "precision"), PAIRS)
def test_a_measured_peak_is_predicted_within_a_fifth(effect: str, precision: str) -> None:
    off = {
        f"{row['height']}x{row['width']} {row['mode']}": round(predicted(row) / row["measured"], 2)
        for row in ROWS
        if (row["effect"], row["precision"]) == (effect, precision)
    }
    assert {size: ratio for size, ratio in off.items() if abs(ratio - 1) > WITHIN} == {}


def test_every_network_was_measured_at_six_sizes_and_in_float32_at_unseen_ones_too() -> None:
    fitted = Counter((row["effect"], row["precision"]) for row in ROWS if row["fitted"])
    unseen = Counter(row["effect"] for row in ROWS if not row["fitted"])
    assert all(fitted[pair] >= 6 for pair in PAIRS)
    assert all(unseen[effect] >= 3 for effect, _ in PAIRS)
