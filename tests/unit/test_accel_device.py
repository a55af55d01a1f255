"""The probe on whatever machine runs the tests, and facts as plain data."""

from __future__ import annotations

import json
import pickle
import sys
import types
from pathlib import Path

import pytest
import torch

from accel import device
from accel.device import Facts, Package, probe


def test_the_probe_of_a_cpu_names_memory_threads_and_packages() -> None:
    facts = probe("cpu")
    assert facts.kind == "cpu"
    assert 0 < facts.free_bytes <= facts.memory_bytes
    assert facts.threads == torch.get_num_threads()
    assert {package.name for package in facts.packages} == set(device.OPTIONAL_PACKAGES)
    assert all(package.version or package.problem for package in facts.packages)


def test_facts_travel_as_json_and_between_processes() -> None:
    facts = probe("cpu")
    assert json.loads(json.dumps(facts.to_json()))["kind"] == "cpu"
    assert pickle.loads(pickle.dumps(facts)) == facts


def test_a_package_that_nobody_looked_for_counts_as_missing() -> None:
    facts = Facts("cpu", "x", 1, 1, "2.6")
    assert facts.package("sageattention").problem == "sageattention is not installed"


@pytest.mark.parametrize("asked", ["tpu", "cuda:one", "cuda:99"])
def test_an_impossible_device_is_refused_with_the_reason(asked: str) -> None:
    with pytest.raises(ValueError, match="device: expected"):
        probe(asked)


def test_a_library_that_breaks_on_import_keeps_the_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_lib.py").write_text("raise OSError('libfoo.so.1: not found')")
    monkeypatch.syspath_prepend(str(tmp_path))
    package = device._import("broken_lib", "broken-lib")
    assert package == Package(
        "broken_lib", problem="broken-lib cannot be imported: libfoo.so.1: not found"
    )


def test_an_extension_counts_as_cuda_only_if_it_is_linked_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU build holds the word c10_cuda in its debug strings; that is not a link."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, content in (("one_backend", b"#c10_cuda"), ("two_backend", b"#libc10_cuda.so")):
        (tmp_path / f"{name}.py").write_bytes(content)
    assert not device._linked_with_cuda("one_backend")
    assert device._linked_with_cuda("two_backend")
    assert not device._linked_with_cuda("three_backend")


def test_releasing_and_asking_for_memory_on_a_cpu_touches_no_cuda(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "cuda", types.SimpleNamespace())
    facts = Facts("cpu", "x", 1, 1, "2.6")
    device.release(facts)
    assert device.free_bytes(facts) > 0


@pytest.mark.skipif(sys.platform == "win32", reason="asks for a POSIX compiler")
def test_the_compiler_named_by_the_environment_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "mycc"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    assert device.find_compiler() == str(compiler)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_the_peak_of_a_cpu_sees_memory_that_is_already_freed() -> None:
    facts = probe("cpu")
    held = device.reset_peak(facts)
    block = torch.ones(2**24)  # 64 MiB
    del block
    assert 60 * 2**20 < device.peak_bytes(facts) - held < 120 * 2**20


def test_a_system_without_a_peak_says_so() -> None:
    with pytest.raises(ValueError, match="peak memory: expected CUDA or Linux, got cpu, Darwin"):
        device.reset_peak(Facts("cpu", "x", 1, 1, "2.6", system="Darwin"))
