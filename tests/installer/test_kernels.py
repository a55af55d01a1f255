"""The sampler is built apart, installed when it passes its test, and leaves nothing when not."""

from __future__ import annotations

import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Optional

import pytest
from invented import machine

from install import kernel_source, kernels, logged_pip
from install.errors import InstallError
from install.machine import Machine
from install.report import Report

SETUP = "CPU_ONLY = False\ncxx_args = ['-std=c++17', '-fopenmp']\nextra_link_args=['-lgomp']\n"
TORCH = json.dumps(
    {"version": "2", "cuda": "", "available": False, "capabilities": [], "packages": "/v"}
)


class Pip:
    """Stands in for pip: writes what each command would leave behind, or fails on request."""

    def __init__(self, packages: Path) -> None:
        self.packages = packages
        self.fails = ""
        self.tree = {"sampler-0.5.0/setup.py": SETUP}
        self.asked: list[str] = []
        self.env: dict[str, str] = {}

    def __call__(self, python: Path, machine: Machine, words: list[str], **more: Any) -> None:
        self.asked.append(words[0])
        if self.fails == words[0]:
            raise InstallError("kernel_failed", f"pip {words[0]} ended with 1")
        if words[0] == "download":
            folder = Path(words[words.index("--dest") + 1])
            with tarfile.open(folder / "sampler-0.5.0.tar.gz", "w:gz") as archive:
                for name, text in self.tree.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(text)
                    archive.addfile(info, io.BytesIO(text.encode()))
        elif words[0] == "wheel":
            self.env = more["env"]
            built = Path(words[words.index("--wheel-dir") + 1])
            built.mkdir()
            with zipfile.ZipFile(built / "sampler.whl", "w") as wheel:
                wheel.write(Path(words[-1]) / "setup.py", "setup.py")
        elif words[0] == "install":
            with zipfile.ZipFile(words[-1]) as wheel:
                data = wheel.read("setup.py")
            self.module.mkdir(exist_ok=True)
            (self.module / "__init__.py").write_bytes(data)
        elif words[0] == "uninstall" and self.module.exists():
            (self.module / "__init__.py").unlink()
            self.module.rmdir()

    @property
    def module(self) -> Path:
        return self.packages / "spatial_correlation_sampler"


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pip:
    packages = tmp_path / "packages"
    packages.mkdir()
    double = Pip(packages)
    for module in (kernels, kernel_source):
        monkeypatch.setattr(module, "run_pip", double)
    monkeypatch.setattr(kernel_source, "_can_import", lambda *_: True)
    return double


def there(pip: Pip, *, compiler: bool = True, installed: bool = False) -> Machine:
    outputs = {"import json": TORCH, "g++ --version": "g++ 13", "platlib": str(pip.packages)}
    if installed:
        outputs["pip show"] = ""
    return machine(commands={"g++": "/usr/bin/g++"} if compiler else {}, outputs=outputs)


def build(pip: Pip, where: Machine, log: Path) -> Report:
    report = Report("kernels", out=io.StringIO())
    kernels.build(Path(sys.executable), where, report, log=log)
    return report


def passes(monkeypatch: pytest.MonkeyPatch, error: Optional[str] = None) -> None:
    def test(*_: Any) -> str:
        if error:
            raise InstallError("kernel_failed", error)
        return "max error 1e-06"

    monkeypatch.setattr(kernels, "self_test", test)


def test_a_build_sets_kind_and_standard_and_ends_with_a_passed_test(
    pip: Pip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes(monkeypatch)
    report = build(pip, there(pip), tmp_path / "logs" / "k.log")
    text = (pip.module / "__init__.py").read_text()
    assert "CPU_ONLY = True" in text
    assert "'-std=c++20', '-fopenmp'" in text
    assert report.steps[-1].detail == "max error 1e-06"
    assert pip.asked == ["download", "wheel", "install"]
    assert "TORCH_CUDA_ARCH_LIST" not in pip.env


def test_without_a_compiler_nothing_is_touched(pip: Pip, tmp_path: Path) -> None:
    with pytest.raises(InstallError) as failed:
        build(pip, there(pip, compiler=False), tmp_path / "k.log")
    assert failed.value.code == "kernel_unready"
    assert "apt install g++" in failed.value.hint
    assert pip.asked == []


def test_a_failed_build_leaves_the_environment_alone(pip: Pip, tmp_path: Path) -> None:
    pip.fails = "wheel"
    with pytest.raises(InstallError):
        build(pip, there(pip), tmp_path / "k.log")
    assert "install" not in pip.asked
    assert not pip.module.exists()


def test_a_failed_self_test_takes_the_build_out_again(
    pip: Pip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes(monkeypatch, "max error 3.0")
    with pytest.raises(InstallError, match=r"max error 3\.0"):
        build(pip, there(pip), tmp_path / "k.log")
    assert not pip.module.exists()


def test_a_failed_self_test_brings_the_earlier_build_back(
    pip: Pip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip.module.mkdir()
    (pip.module / "__init__.py").write_text("earlier")
    passes(monkeypatch, "max error 3.0")
    with pytest.raises(InstallError):
        build(pip, there(pip, installed=True), tmp_path / "k.log")
    assert (pip.module / "__init__.py").read_text() == "earlier"


def test_a_source_that_changed_is_not_built_blindly(pip: Pip, tmp_path: Path) -> None:
    pip.tree = {"sampler-0.6.0/setup.py": "import scikit_build\n"}
    with pytest.raises(InstallError, match="has no 'CPU_ONLY = False' any more"):
        build(pip, there(pip), tmp_path / "k.log")


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil.py"])
def test_a_source_archive_cannot_write_elsewhere(pip: Pip, tmp_path: Path, name: str) -> None:
    pip.tree = {"sampler-0.5.0/setup.py": SETUP, name: "evil"}
    with pytest.raises(InstallError) as failed:
        build(pip, there(pip), tmp_path / "k.log")
    assert failed.value.code == "bad_archive"


@pytest.mark.parametrize(
    ("system", "flags"),
    [("win32", "'/std:c++20', '/openmp'"), ("darwin", "cxx_args = ['-std=c++20']")],
)
def test_each_system_gets_its_compilers_flags(tmp_path: Path, system: str, flags: str) -> None:
    setup = tmp_path / "setup.py"
    setup.write_text(SETUP)
    kernel_source.adapt(setup, "cuda", machine(system))
    text = setup.read_text()
    assert flags in text
    assert "CPU_ONLY = False" in text
    assert "gomp" not in text


def test_a_build_that_takes_too_long_is_stopped_and_says_so(tmp_path: Path) -> None:
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nsleep 30 & echo started; wait\n")
    slow.chmod(0o755)
    if sys.platform == "win32":
        pytest.skip("the double of pip is a shell script")
    log = tmp_path / "k.log"
    with pytest.raises(InstallError, match=r"took more than 0 s"):
        logged_pip.run_pip(slow, Machine(), ["wheel"], log=log, limit_s=0.2)


def test_a_failing_command_quotes_the_first_error_of_its_log(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("the double of pip is a shell script")
    bad = tmp_path / "python"
    bad.write_text("#!/bin/sh\necho 'x.cpp:3: error: no such header'\nexit 2\n")
    bad.chmod(0o755)
    with pytest.raises(InstallError, match=r"ended with 2: x\.cpp:3: error: no such header"):
        logged_pip.run_pip(bad, Machine(), ["wheel"], log=tmp_path / "k.log")


def test_a_failed_self_test_tells_its_last_line(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("the double of python is a shell script")
    bad = tmp_path / "python"
    bad.write_text("#!/bin/sh\necho 'Traceback'; echo 'max error 3.1e+00 of 24.3'; exit 1\n")
    bad.chmod(0o755)
    with pytest.raises(InstallError, match=r"fails its self-test: max error 3\.1e\+00 of 24\.3"):
        kernels.self_test(bad, Machine(), "cpu")
