"""The doctor finds what was broken on purpose, says how to mend it, and outlives broken checks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from bridge_server import doctor_checks
from bridge_server.cli import app
from bridge_server.doctor import Context, diagnose
from install import hosts, weight_store
from install.findings import NOTE, OK, PROBLEM, Finding
from install.machine import Machine


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    monkeypatch.setenv("CHROMABRIDGE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("CHROMABRIDGE_POLICY", raising=False)
    machine = Machine(system="linux", env={}, home=tmp_path, run=lambda _: None)
    return Context(machine, tmp_path / "home")


def found(context: Context, *checks: Any) -> dict[str, Finding]:
    diagnosis = diagnose(context, [(check.__name__, check) for check in checks])
    return {finding.name: finding for section in diagnosis.sections.values() for finding in section}


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(context: Context) -> None:
    def broken(_: Context) -> Iterator[Finding]:
        yield Finding("first", OK, "fine")
        raise OSError("no such device")

    def working(_: Context) -> Iterator[Finding]:
        yield Finding("second", OK, "fine")

    told = found(context, broken, working)
    assert list(told) == ["first", "broken.check", "second"]
    assert told["broken.check"].state == PROBLEM
    assert "no such device" in told["broken.check"].detail
    assert told["broken.check"].fix


def test_this_very_environment_has_python_libraries_and_color(context: Context) -> None:
    told = found(context, doctor_checks.system, doctor_checks.libraries, doctor_checks.color)
    assert {finding.state for finding in told.values()} == {OK}


def test_packages_of_another_root_are_named(context: Context, tmp_path: Path) -> None:
    told = found(replace(context, root=tmp_path), doctor_checks.system)
    assert told["packages"].state == PROBLEM
    assert "PYTHONPATH" in told["packages"].fix


def test_little_disk_is_a_problem(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    few = SimpleNamespace(free=10 << 20)
    monkeypatch.setattr(doctor_checks.shutil, "disk_usage", lambda _: few)
    assert found(context, doctor_checks.disk)["disk"].state == PROBLEM


def test_the_device_works_and_each_effect_has_a_plan_with_reasons(context: Context) -> None:
    told = found(context, doctor_checks.devices, doctor_checks.plans, doctor_checks.sampler)
    assert told["device.works"].state == OK
    assert "precision" in told["plan.colormnet"].detail
    assert " ms" in told["sampler"].detail


def test_no_usable_weights_is_a_problem_and_missing_ones_are_notes(
    context: Context, tmp_path: Path
) -> None:
    told = found(replace(context, root=tmp_path), doctor_checks.weights_here)
    assert told["weights"].state == PROBLEM
    assert told["weights.deep_exemplar"].state == NOTE
    assert told["weights.deep_exemplar"].fix.endswith("weights fetch deep_exemplar")
    assert "license show colormnet" in told["weights.colormnet"].fix


def test_broken_weights_are_a_problem(context: Context) -> None:
    folder = weight_store.store(context.home) / "deep_exemplar"
    folder.mkdir(parents=True)
    parts = {"colornet": {"file": "colornet.safetensors", "bytes": 5, "sha256": "0"}}
    record = {"schema": weight_store.SCHEMA, "sha256": "0", "files": parts}
    (folder / "record.json").write_text(json.dumps(record))
    told = found(context, doctor_checks.weights_here)
    assert told["weights.deep_exemplar"].state == PROBLEM
    assert "colornet.safetensors" in told["weights.deep_exemplar"].detail


def test_a_plugin_of_another_version_is_a_problem(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = hosts.Host("nuke", "0.0.1", Path("init.py"))
    none = hosts.Host("resolve", "", Path("x.py"))
    monkeypatch.setattr(hosts, "installed", lambda *_: [old, none])
    told = found(context, doctor_checks.host_plugins)
    assert told["host.nuke"].state == PROBLEM
    assert told["host.resolve"].state == OK


def test_no_server_is_no_problem(context: Context) -> None:
    assert found(context, doctor_checks.server)["server"].state == OK


def test_an_ocio_configuration_that_does_not_open_is_a_problem(
    context: Context, tmp_path: Path
) -> None:
    config = tmp_path / "config.ocio"
    config.write_text("ocio_profile_version: 99\n")
    machine = replace(context.machine, env={"OCIO": str(config)})
    told = found(replace(context, machine=machine), doctor_checks.color)
    assert told["ocio.config"].state == PROBLEM
    assert str(config) in told["ocio.config"].detail


def test_a_device_is_served_by_its_family_or_by_ptx_only() -> None:
    assert doctor_checks._compiles_for(("sm_80", "sm_86"), (8, 9))
    assert doctor_checks._compiles_for(("sm_90", "compute_90"), (12, 0))
    assert not doctor_checks._compiles_for(("sm_80", "sm_90"), (12, 0))
    assert not doctor_checks._compiles_for(("sm_80",), (7, 5))


def test_the_command_answers_in_json_and_with_an_exit_code(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ill(_: Context) -> Iterator[Finding]:
        yield Finding("x", PROBLEM, "broken", "Mend it.")

    monkeypatch.setattr(doctor_checks, "CHECKS", (("ill", ill),))
    result = CliRunner().invoke(app, ["doctor", "--json"])
    told = json.loads(result.output)
    assert (result.exit_code, told["healthy"]) == (1, False)
    assert told["sections"]["ill"][0]["fix"] == "Mend it."
    text = CliRunner().invoke(app, ["doctor"]).output
    assert "BAD  x: broken" in text
    assert "fix: Mend it." in text
