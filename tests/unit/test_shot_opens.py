"""A shot opens: compiling is told and timed apart from frames, memory is planned as it is then."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from accel import device
from accel.compiling import Compiler
from accel.device import Facts
from accel.plan import Switches, make_plan
from bridge_server.effects import registry
from bridge_server.effects.effect import LoadRequest
from bridge_server.headless.job import ColorizeJob
from bridge_server.headless.record import Record
from bridge_server.headless.runner import Runner
from bridge_server.worker.instance import Instance, Still

FACTS = Facts("cpu", "x", 2**34, 2**33, "2.6", compiler="g++")
SLEEP_S = 0.2


def instance(said: list[tuple[str, Any]]) -> Instance:
    effect = registry.find("starter")
    values = effect.describe_in_context("filter").effective({"temporal_blend": 0.0})
    plan = make_plan(FACTS, "starter", Switches(precision="fp32", use_torch_compile="on"))

    def compile_slowly(function: Callable[..., Any]) -> Callable[..., Any]:
        time.sleep(SLEEP_S)
        return function

    compiler = Compiler(FACTS, compile_function=compile_slowly)
    loaded = effect.load(LoadRequest(plan, Path(), values, compiler))
    made = Instance(effect, loaded, values, plan, tell=lambda name, data: said.append((name, data)))
    made.begin_sequence_render([Still(torch.rand(64, 96, 3), None, "a")])
    return made


def test_the_first_frame_tells_what_compiling_took_and_no_stage_counts_it() -> None:
    said: list[tuple[str, Any]] = []
    with torch.inference_mode():
        shot = instance(said)
        first, second = (
            shot.render(torch.rand(64, 96), index=i, cut=False, want_confidence=False).times_us
            for i in range(2)
        )
    assert first["warm_up"] >= 2 * SLEEP_S * 1e6  # encoder and decoder
    assert first["prepare"] < first["warm_up"]
    assert first["prepare"] >= 0
    assert "warm_up" not in second
    assert [name for name, _ in said] == ["compiling", "compiled", "compiled"]
    assert said[0][1]["text"] == "compiling starter for this size; the first time takes minutes"
    assert said[1][1]["text"].startswith("encoder 1x1x64x96: compiled in 0.")


def test_the_report_counts_neither_loading_nor_warm_up_as_frames() -> None:
    record = Record("a.mov", "b.mov", "starter", {}, frames_done=10, full_size=(64, 96))
    record.times_s = {"load": 2.0, "warm_up": 60.0, "wall": 67.0}
    report = record.performance
    assert (report.load_s, report.warm_up_s, report.total_s) == (2.0, 60.0, 5.0)
    assert "2.00 s, 60.00 s (not counted above)" in report.text()


@pytest.mark.parametrize(
    ("name", "data", "notes", "warnings"),
    [
        ("compiling", {"text": "compiling x"}, [], []),
        ("compiled", {"code": "compiled", "text": "x: compiled"}, ["x: compiled"], []),
        ("compiled", {"code": "compile_failed", "text": "x: eager"}, [], ["x: eager"]),
        ("step_down", {"step": "s", "text": "the device was full"}, [], ["the device was full"]),
        ("of_a_newer_server", {"data": 1}, [], []),
    ],
)
def test_only_what_went_wrong_is_a_warning(
    tmp_path: Path, name: str, data: dict[str, Any], notes: list[str], warnings: list[str]
) -> None:
    job = ColorizeJob(plate=tmp_path / "a.png", output=tmp_path / "b.png", effect="x", exemplars=())
    server: Any = None  # no event needs one
    runner = Runner(job, server)
    runner._event(name, data)
    assert (runner.record.notes, runner.record.warnings) == (notes, warnings)


def test_a_shot_is_planned_by_what_is_free_when_it_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "free_bytes", lambda facts: 500 * 2**20)
    with torch.inference_mode():
        shot = instance([])
        shot.render(torch.rand(64, 96), index=0, cut=False, want_confidence=False)
    assert shot.memory is not None
    assert shot.memory.budget_bytes == round((500 * 2**20 + shot.memory.prediction.weights) * 0.9)
