"""The planner on invented devices: what is predicted, what is given up, in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from accel.device import Facts
from accel.memory import (
    KEPT_PIXEL_BYTES,
    MIB,
    MemoryPlan,
    Workload,
    fit,
    is_out_of_memory,
    predict,
    run_within,
    step_down,
)
from accel.presets import BALANCED, GIB, HIGH_QUALITY, LOW_MEMORY, MEMORY_MODES, markdown, tier

BANKED = Workload(
    "banked",
    112,
    {"fp32": 4_000_000, "fp16": 2_000_000},
    {"fp32": 1000.0, "fp16": 500.0},
    loading_bytes=9_000_000_000,
    has_modes=True,
)
MATCHED = Workload("matched", 16, {"fp32": 4_000_000}, {"fp32": 1000.0}, has_half=True)


def plan(workload: Workload = BANKED, **changes: object) -> MemoryPlan:
    base = MemoryPlan(
        workload=workload,
        height=432,
        width=768,
        precision="fp32",
        mode=HIGH_QUALITY,
        workspace_bytes=256 * MIB,
        half_resolution=False,
        budget_bytes=100 * GIB,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_the_seeds_numbers_stand() -> None:
    rows = {
        name: (
            mode.max_mid_term_frames,
            mode.min_mid_term_frames,
            mode.max_long_term_elements,
            mode.num_prototypes,
            mode.mem_every,
        )
        for name, mode in MEMORY_MODES.items()
    }
    assert rows == {
        "low_memory": (5, 3, 5000, 64, 10),
        "balanced": (10, 5, 10000, 128, 5),
        "high_quality": (15, 7, 15000, 256, 3),
    }


def test_similarities_of_a_1080p_frame_are_what_the_formula_says() -> None:
    """3.23 GiB for balanced at 1080p in float32, from the published shapes."""
    big = plan(height=1080, width=1920, mode=BALANCED, workspace_bytes=100 * GIB)
    kept = KEPT_PIXEL_BYTES * 1120 * 2016
    assert (predict(big).workspace - kept) / GIB == pytest.approx(3.23, abs=0.01)


def test_deep_exemplars_matrix_at_full_resolution_is_what_the_formula_says() -> None:
    """1.49 GiB at 768 x 416, full resolution; a bounded block is all that is ever held."""
    unbounded = plan(MATCHED, height=416, workspace_bytes=100 * GIB)
    kept = KEPT_PIXEL_BYTES * 416 * 768
    assert (predict(unbounded).workspace - kept) / GIB == pytest.approx(1.49, abs=0.01)
    assert predict(replace(unbounded, workspace_bytes=64 * MIB)).workspace - kept == 64 * MIB


def test_a_block_counts_only_beyond_the_results_it_comes_before() -> None:
    small = predict(plan(workspace_bytes=16 * MIB))
    assert small.total == small.weights + small.intermediate + small.state
    large = predict(plan(height=1080, width=1920, workspace_bytes=100 * GIB))
    assert large.total > large.weights + large.intermediate + large.state


def test_a_shorter_format_still_loads_from_float32() -> None:
    assert predict(plan(precision="fp16")).total == BANKED.loading_bytes
    assert predict(plan(precision="fp32")).total < BANKED.loading_bytes


def test_sizes_are_padded_before_anything_is_counted() -> None:
    assert predict(plan(height=432)).total == predict(plan(height=448)).total
    assert predict(plan(height=449)).total > predict(plan(height=448)).total


def test_half_resolution_counts_a_quarter_of_the_pixels() -> None:
    full, half = predict(plan(MATCHED)), predict(plan(MATCHED, half_resolution=True))
    assert half.intermediate * 4 == pytest.approx(full.intermediate, rel=0.05)


def test_steps_come_in_their_order_and_end() -> None:
    names, step = [], step_down(plan(), "out of memory")
    while step is not None:
        names.append((step.steps[-1].name, step.steps[-1].changes_picture))
        step = step_down(step, "out of memory")
    assert names == [
        ("blocks of 64 MiB", False),
        ("blocks of 16 MiB", False),
        ("memory_mode balanced", True),
        ("memory_mode low_memory", True),
    ]


def test_a_matching_network_gives_up_resolution_last() -> None:
    step = step_down(plan(MATCHED, workspace_bytes=16 * MIB), "out of memory")
    assert step is not None
    assert step.steps[-1].name == "use_half_resolution on"
    assert step.changes_picture
    assert step_down(step, "out of memory") is None


def test_no_step_makes_a_shot_larger() -> None:
    for workload in (BANKED, MATCHED):
        step: MemoryPlan | None = plan(workload, height=1080, width=1920)
        while step is not None:
            following = step_down(step, "x")
            if following is not None:
                assert following.prediction.total <= step.prediction.total
            step = following


def test_a_plan_with_room_gives_nothing_up() -> None:
    assert fit(plan()).steps == ()


def test_a_tight_budget_is_met_by_the_fewest_steps_and_says_why() -> None:
    start = plan(height=1080, width=1920, workspace_bytes=4 * GIB)
    budget = replace(start, workspace_bytes=256 * MIB).prediction.total
    tight = fit(replace(start, budget_bytes=budget))
    assert [step.name for step in tight.steps] == ["blocks of 256 MiB"]
    assert tight.fits
    assert not tight.changes_picture
    assert "MiB are free" in tight.steps[0].reason
    assert tight.to_json()["changes_picture"] is False


def test_a_budget_that_nothing_meets_is_told_and_never_hidden() -> None:
    hopeless = fit(plan(budget_bytes=MIB))
    assert not hopeless.fits
    assert hopeless.mode == LOW_MEMORY
    assert hopeless.to_json()["fits"] is False


def test_a_full_device_is_tried_again_one_step_lower_each_time() -> None:
    tried, released = [], []

    def attempt(memory: MemoryPlan) -> str:
        tried.append(len(memory.steps))
        if len(tried) < 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "frame"

    result, used = run_within(plan(), attempt, lambda: released.append(None))
    assert (result, tried, len(released)) == ("frame", [0, 1, 2], 2)
    assert [step.reason for step in used.steps] == ["out of memory"] * 2


def test_the_words_of_the_cpus_allocator_count_as_out_of_memory() -> None:
    def attempt(memory: MemoryPlan) -> None:
        torch.empty(2**55)

    with pytest.raises(RuntimeError, match="allocate memory"):
        run_within(plan(MATCHED), attempt, lambda: None)
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))


def test_another_error_is_not_tried_again() -> None:
    tried = []

    def attempt(_: MemoryPlan) -> None:
        tried.append(None)
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        run_within(plan(), attempt, lambda: None)
    assert len(tried) == 1


@pytest.mark.parametrize(
    ("gib", "row", "precision", "mode"),
    [
        (5.8, "6 to 8 GB", "half", "low_memory"),
        (7.78, "8 to 16 GB", "half", "balanced"),
        (11.6, "8 to 16 GB", "half", "balanced"),
        (15.7, "16 GB and more", "fp32", "high_quality"),
        (79.1, "16 GB and more", "fp32", "high_quality"),
    ],
)
def test_a_card_falls_into_the_row_of_the_size_it_is_sold_as(
    gib: float, row: str, precision: str, mode: str
) -> None:
    found = tier(Facts("cuda", "x", round(gib * GIB), 1, "2.6", capability=(8, 6)))
    assert (found.name, found.precision, found.mode.name) == (row, precision, mode)


def test_a_cpu_has_a_row_of_its_own() -> None:
    assert tier(Facts("cpu", "x", 2**40, 1, "2.6")).name == "CPU"


def test_the_table_for_the_documentation_holds_every_row() -> None:
    text = markdown()
    assert "| balanced | 10 / 5 | 10000 | 128 | 5 |" in text
    assert text.count("\n| ") == 2 - 1 + 3 + 4
