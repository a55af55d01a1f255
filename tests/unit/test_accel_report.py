"""The report of a run: the seed's fields, and never a switch that did not run as one that did."""

from __future__ import annotations

import json

from accel.device import Facts
from accel.plan import Switches, make_plan
from accel.report import PerformanceReport


def report() -> PerformanceReport:
    plan = make_plan(Facts("cpu", "x", 1, 1, "2.6"), "colormnet", Switches(use_sage_attention=True))
    record = plan.to_json()
    assert isinstance(record["asked"], dict)
    return PerformanceReport(
        effect="colormnet",
        frames=240,
        height=432,
        width=768,
        working_size=(448, 784),
        total_s=120.0,
        load_s=3.0,
        warm_up_s=40.0,
        asked=record["asked"],
        effective=plan.effective,
        reasons=plan.lines(),
    )


def test_speed_counts_neither_loading_nor_warm_up() -> None:
    assert (report().fps, report().seconds_per_frame) == (2.0, 0.5)


def test_a_run_without_frames_has_no_speed_and_no_error() -> None:
    empty = PerformanceReport("x", 0, 1, 1, (1, 1), 0.0)
    assert (empty.fps, empty.seconds_per_frame) == (0.0, 0.0)
    assert "not measured" in empty.text()


def test_the_text_shows_what_was_asked_beside_what_ran_and_the_reason() -> None:
    text = report().text()
    assert "use_sage_attention   off (asked: on)" in text
    assert "sage: sageattention is not installed" in text
    assert "Frames processed" in text


def test_the_record_is_json_with_the_seeds_fields() -> None:
    record = json.loads(json.dumps(report().to_json()))
    assert record["seconds_per_frame"] == 0.5
    assert record["resolution"] == [432, 768]
    assert record["asked"]["use_sage_attention"] is True
    assert record["effective"]["use_sage_attention"] is False
