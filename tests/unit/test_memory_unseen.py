"""The planner's prediction against peaks that its coefficients were not fitted to.

Rows are benchmarks/results/accel_memory_unseen.json, by benchmarks/accel_memory.py --unseen.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from accel.device import Facts
from accel.memory import MIB
from accel.plan import Switches, make_plan

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
ROWS: list[dict[str, Any]] = json.loads(
    (RESULTS / "accel_memory_unseen.json").read_text(encoding="utf-8")
)["rows"]
CPU = Facts("cpu", "x", 2**40, 2**40, "2.14", cpu_features=frozenset({"avx512_bf16"}))
MOST, LEAST = 1.35, 0.95
SMALL = 48 * MIB  # libraries that a first frame loads, which no coefficient holds


def predicted(row: dict[str, Any]) -> int:
    asked: dict[str, Any] = {"precision": row["precision"], "use_torch_compile": "off"}
    if row["effect"] == "colormnet":
        asked["memory_mode"] = row["mode"]
    elif row["effect"] == "deep_exemplar":
        asked["use_half_resolution"] = row["mode"]
    plan = make_plan(CPU, row["effect"], Switches(**asked))
    return plan.memory_for(row["height"], row["width"]).prediction.total


@pytest.mark.parametrize(
    "row",
    ROWS,
    ids=[f"{r['effect']} {r['precision']} {r['height']}x{r['width']} {r['mode']}" for r in ROWS],
)
def test_an_unseen_peak_is_predicted_within_the_stated_factor(row: dict[str, Any]) -> None:
    measured, found = row["measured"], predicted(row)
    assert found <= max(MOST * measured, measured + SMALL)
    assert found >= min(LEAST * measured, measured - SMALL)


def test_every_network_and_format_has_unseen_rows() -> None:
    assert {(row["effect"], row["precision"]) for row in ROWS} == {
        (effect, precision)
        for effect in ("colormnet", "deep_exemplar", "starter")
        for precision in ("fp32", "bf16")
    }
