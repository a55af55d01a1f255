"""The record's switches are those that really ran."""

from __future__ import annotations

from bridge_server.headless.record import Record


def test_what_turned_out_otherwise_stands_in_the_performance_report() -> None:
    asked = {"use_torch_compile": "on", "precision": "bf16"}
    said = {"use_torch_compile": True, "precision": "bf16", "memory_mode": "balanced"}
    record = Record("a.mov", "b.mov", "colormnet", asked, effective=dict(said))
    record.ran.update({"use_torch_compile": False, "memory_mode": "low_memory"})
    performance = record.performance
    assert performance.effective == {
        "use_torch_compile": False,
        "precision": "bf16",
        "memory_mode": "low_memory",
    }
    assert "off (asked: on)" in performance.text()
    assert record.effective == said  # what frames' keys are made of


def test_every_switch_and_the_peak_of_memory_stand_in_the_report() -> None:
    said = {"precision": "bf16", "correlation_sampler": "off", "use_half_resolution": True}
    record = Record("a.mov", "b.mov", "colormnet", {"precision": "bf16"}, effective=dict(said))
    record.peak_bytes = 300 << 20
    told = record.performance.to_json()
    assert told["effective"] == said
    assert told["asked"] == {
        "precision": "bf16",
        "correlation_sampler": "default",
        "use_half_resolution": "default",
    }
    assert told["peak_bytes"] == 300 << 20
    assert "300 MiB" in record.performance.text()
