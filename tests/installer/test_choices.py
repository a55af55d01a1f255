"""What the installer decides on machines of every kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from invented import machine

from install import interpreters, torch_choice
from install.findings import healthy
from install.machine import nvidia_driver
from install.toolchain import look

PYTHON = Path("/v/bin/python")
NVIDIA = {"driver/nvidia": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun"}


def test_an_nvidia_driver_gets_the_cuda_wheels() -> None:
    chosen = torch_choice.choose(machine(outputs=NVIDIA), PYTHON)
    assert (chosen.kind, chosen.index) == ("cuda", "")
    assert "580.65.06" in chosen.reason


def test_linux_without_a_driver_gets_the_cpu_wheels_of_pytorch() -> None:
    chosen = torch_choice.choose(machine(), PYTHON)
    assert (chosen.kind, chosen.index) == ("cpu", torch_choice.CPU_INDEX)


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_other_systems_need_no_index_of_their_own(system: str) -> None:
    assert torch_choice.choose(machine(system), PYTHON).index == ""


def test_windows_finds_the_driver_by_its_tool() -> None:
    found = machine(
        "win32", commands={"nvidia-smi": "C:/w/nvidia-smi.exe"}, outputs={"nvidia-smi": "580.88\n"}
    )
    assert nvidia_driver(found) == "580.88"
    assert torch_choice.choose(found, PYTHON).kind == "cuda"
    assert nvidia_driver(machine("darwin", commands={"nvidia-smi": "/x"})) is None


@pytest.mark.parametrize(
    ("env", "listing"),
    [
        ({"PIP_INDEX_URL": "https://example.org/simple"}, ""),
        ({"PIP_FIND_LINKS": "wheels"}, ""),
        ({}, "global.extra-index-url='https://example.org/simple'\n"),
    ],
)
def test_a_source_that_the_user_configured_is_never_overridden(
    env: dict[str, str], listing: str
) -> None:
    chosen = torch_choice.choose(machine(env=env, outputs={"config list": listing}), PYTHON)
    assert chosen.index == ""
    assert "pip's own configuration" in chosen.reason


def test_asking_for_cpu_or_an_index_is_obeyed() -> None:
    assert torch_choice.choose(machine(outputs=NVIDIA), PYTHON, asked="cpu").kind == "cpu"
    chosen = torch_choice.choose(machine(outputs=NVIDIA), PYTHON, index="https://example.org/t")
    assert chosen.index == "https://example.org/t"


def test_the_newest_patch_of_each_host_python_is_found(tmp_path: Path) -> None:
    for patch in ("3.9.2", "3.9.18", "3.8.1"):
        (tmp_path / ".pyenv" / "versions" / patch / "bin").mkdir(parents=True)
    found = interpreters.find(
        machine(
            home=tmp_path,
            commands={"python3.10": "/usr/bin/python3.10", "python3.12": "/shims/python3.12"},
            outputs={
                "3.9.2/bin": "CPython|3|9|2|/p/3.9.2",
                "3.9.18/bin": "CPython|3|9|18|/p/3.9.18",
                "python3.10": "PyPy|3|10|1|/usr/bin/python3.10",
                # python3.12 is a shim that fails: it prints nothing
            },
        )
    )
    assert {minor: one.label for minor, one in found.items()} == {9: "3.9.18"}


def test_windows_asks_its_launcher_for_each_python() -> None:
    found = interpreters.find(
        machine(
            "win32",
            commands={"py": "C:/Windows/py.exe"},
            outputs={"py.exe -3.11 ": "CPython|3|11|9|C:/Python311/python.exe"},
        )
    )
    assert list(found) == [11]


def torch_says(cuda: str, capabilities: tuple[str, ...] = ()) -> str:
    told = {
        "version": "2.9",
        "cuda": cuda,
        "available": bool(capabilities),
        "capabilities": list(capabilities),
        "packages": "/v/lib",
    }
    return json.dumps(told)


def test_a_complete_cuda_toolchain_has_no_findings_to_mend() -> None:
    tools = look(
        machine(
            env={"CUDA_HOME": "/c"},
            paths=("/c", "/c/bin/nvcc"),
            commands={"c++": "/usr/bin/c++"},
            outputs={
                "import json": torch_says("12.8", ("8.9",)),
                "nvcc --version": "Cuda compilation tools, release 12.8, V12.8.1",
                "c++ --version": "c++ (Debian) 13.2\nmore",
            },
        ),
        PYTHON,
    )
    assert (tools.kind, tools.nvcc_version, tools.cuda_home) == ("cuda", "12.8", "/c")
    assert healthy(tools.findings)
    assert not [finding for finding in tools.findings if finding.fix]


def test_each_missing_tool_of_a_cuda_build_is_named_with_its_fix() -> None:
    tools = look(machine(outputs={"import json": torch_says("12.8", ("8.9",))}), PYTHON)
    wrong = {finding.name: finding for finding in tools.findings if finding.state == "problem"}
    assert set(wrong) == {"cuda.toolkit", "cuda.nvcc", "compiler"}
    assert "12.8" in wrong["cuda.nvcc"].fix
    assert "apt install g++" in wrong["compiler"].fix


def test_another_nvcc_than_torchs_is_a_problem_for_cuda_only() -> None:
    outputs = {
        "import json": torch_says("13.0", ("9.0",)),
        "nvcc --version": "release 12.4,",
        "c++ --version": "c++ 13",
    }
    commands = {"nvcc": "/usr/bin/nvcc", "c++": "/usr/bin/c++"}
    there = machine(commands=commands, outputs=outputs, paths=("/usr/local/cuda",))
    (nvcc,) = [one for one in look(there, PYTHON).findings if one.name == "cuda.nvcc"]
    assert nvcc.state == "problem"
    assert "12.4" in nvcc.detail
    assert "13.0" in nvcc.detail
    assert healthy(look(there, PYTHON, kind="cpu").findings)


def test_a_cpu_build_needs_a_compiler_and_nothing_else() -> None:
    there = machine(
        commands={"g++": "/usr/bin/g++"},
        outputs={"import json": torch_says(""), "g++ --version": "g++ 13"},
    )
    tools = look(there, PYTHON)
    assert tools.kind == "cpu"
    assert healthy(tools.findings)
    assert "not needed" in next(one.detail for one in tools.findings if one.name == "cuda.nvcc")


def test_windows_looks_for_the_build_tools_by_vswhere() -> None:
    base = "C:/Program Files (x86)"
    vswhere = f"{base}/Microsoft Visual Studio/Installer/vswhere.exe"
    bare = machine("win32", outputs={"import json": torch_says("")})
    (missing,) = [one for one in look(bare, PYTHON).findings if one.name == "compiler"]
    assert "Build Tools" in missing.fix
    there = machine(
        "win32",
        env={"ProgramFiles(x86)": base},
        paths=(vswhere,),
        outputs={"import json": torch_says(""), "vswhere": "C:/VS/BuildTools\r\n"},
    )
    tools = look(there, PYTHON)
    assert tools.compiler == "C:/VS/BuildTools"
    assert healthy(tools.findings)


def test_a_mac_is_told_of_its_own_tools() -> None:
    findings = look(machine("darwin", outputs={"import json": torch_says("")}), PYTHON).findings
    fixes = {finding.name: finding.fix for finding in findings}
    assert "xcode-select" in fixes["compiler"]
    assert "no CUDA for macOS" in fixes["cuda.toolkit"]


def test_a_broken_torch_is_the_first_finding() -> None:
    tools = look(machine(), PYTHON)
    assert tools.torch is None
    assert tools.findings[0].state == "problem"
