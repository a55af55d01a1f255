"""The environment is made once, completed when broken off, and never half announced."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from install import bundle, checks, environment
from install.environment import Recipe, ensure, why_pip_failed
from install.errors import EXIT_CODES, InstallError
from install.lock import only_one
from install.machine import Machine
from install.report import Report

BOOTSTRAP = Path(environment.__file__).parent / "bootstrap.py"
posix = pytest.mark.skipif(os.name != "posix", reason="the double of a venv is a symbolic link")


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Pip's command lines; pip itself does nothing and succeeds, or ends as `codes` says."""
    lines: list[list[str]] = []

    def run(command: list[str], **_: Any) -> tuple[int, str]:
        lines.append(list(command))
        return 0, ""

    def make(folder: Path) -> None:
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").symlink_to(sys.executable)

    monkeypatch.setattr(environment, "run_visibly", run)
    monkeypatch.setattr(environment, "_make_venv", make)
    return lines


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\n')
    return tmp_path


def quiet() -> Report:
    return Report("test", out=io.StringIO())


@posix
def test_the_second_run_does_nothing(root: Path, pip: list[list[str]]) -> None:
    recipe = Recipe(root, torch="cuda")
    python = ensure(recipe, Machine(), quiet())
    assert python.exists()
    assert [line[-1] for line in pip] == [".[server]"]
    report = quiet()
    assert ensure(recipe, Machine(), report) == python
    assert len(pip) == 1
    assert [step.state for step in report.steps] == ["skipped"]


@posix
def test_a_changed_project_is_installed_again(root: Path, pip: list[list[str]]) -> None:
    ensure(Recipe(root, torch="cuda"), Machine(), quiet())
    (root / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "2"\n')
    ensure(Recipe(root, torch="cuda"), Machine(), quiet())
    assert len(pip) == 2


@posix
def test_a_run_that_broke_off_is_completed(
    root: Path, pip: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    working = environment.run_visibly
    monkeypatch.setattr(environment, "run_visibly", lambda *_, **__: (1, "ERROR: no matching"))
    with pytest.raises(InstallError) as failed:
        ensure(Recipe(root, torch="cuda"), Machine(), quiet())
    assert failed.value.code == "pip_failed"
    monkeypatch.setattr(environment, "run_visibly", working)
    report = quiet()
    ensure(Recipe(root, torch="cuda"), Machine(), report)
    assert ("venv", "skipped") in [(step.name, step.state) for step in report.steps]
    assert ("packages", "done") in [(step.name, step.state) for step in report.steps]


@posix
def test_what_an_earlier_command_installed_is_kept(root: Path, pip: list[list[str]]) -> None:
    (root / "pyproject.toml").write_text(
        '[dependency-groups]\ntest = ["pytest"]\nall = [{include-group = "test"}, "x"]\n'
    )
    if sys.version_info >= (3, 11):
        ensure(Recipe(root, groups=("all",), torch="cuda"), Machine(), quiet())
        assert pip[-1][-3:] == [".[server]", "pytest", "x"]
    else:
        ensure(Recipe(root, extras=("server", "more"), torch="cuda"), Machine(), quiet())
    ensure(Recipe(root, torch="cuda"), Machine(), quiet())
    assert len(pip) == 1


@posix
def test_the_cpu_index_serves_torch_alone(
    root: Path, pip: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(root, torch_index="https://example.org/cpu")
    ensure(recipe, Machine(), quiet())
    assert pip[0][-4:] == ["--index-url", "https://example.org/cpu", "torch", "torchvision"]
    assert "--index-url" not in pip[1]


@posix
def test_a_bundle_keeps_pip_off_the_network(root: Path, pip: list[list[str]]) -> None:
    ensure(Recipe(root, wheels=root / "wheels"), Machine(), quiet())
    assert "--no-index" in pip[0]
    assert len(pip) == 1


@posix
def test_too_little_disk_is_said_before_anything_is_downloaded(
    root: Path, pip: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 30))
    with pytest.raises(InstallError) as failed:
        ensure(Recipe(root, torch="cuda"), Machine(), quiet())
    assert failed.value.code == "disk_full"
    assert "got 1.0 GiB" in failed.value.message
    assert pip == []


def test_a_python_without_venv_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InstallError) as failed:
        environment._make_venv(tmp_path / "venv")
    assert failed.value.code == "venv_missing"
    assert "-venv" in failed.value.hint
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize(
    ("tail", "code"),
    [
        ("OSError: [Errno 28] No space left on device", "disk_full"),
        ("NewConnectionError: Temporary failure in name resolution", "offline"),
        ("ERROR: Could not find a version that satisfies x", "pip_failed"),
    ],
)
def test_pips_last_words_become_a_code(tail: str, code: str) -> None:
    error = why_pip_failed(tail)
    assert error.code == code
    assert error.hint
    assert code in EXIT_CODES


def test_two_runs_do_not_collide_and_a_dead_one_leaves_no_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from install.lock import only_one\n"
        "held = only_one(Path(sys.argv[2])); held.__enter__(); print('held', flush=True)\n"
        "sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(BOOTSTRAP.parent.parent), str(lock)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == b"held"
        with pytest.raises(InstallError) as failed, only_one(lock):
            pass
        assert failed.value.code == "locked"
        assert str(other.pid) in failed.value.message
        other.kill()
    with only_one(lock):
        pass


def test_the_report_as_json_is_one_object_and_nothing_else() -> None:
    out = io.StringIO()
    report = Report("demo", as_json=True, out=out)
    report.begin("packages")
    report.done("packages", "all")
    report.skipped("torch", "it is there")
    report.failed("demo", InstallError("demo_failed", "it broke", hint="Mend it."))
    assert report.stream is sys.stderr
    assert report.finish() == 1
    told = json.loads(out.getvalue())
    assert (told["schema"], told["ok"]) == (1, False)
    assert [step["state"] for step in told["steps"]] == ["done", "skipped", "failed"]
    assert told["steps"][2]["hint"] == "Mend it."


def test_every_code_of_the_installer_has_an_exit_code() -> None:
    import re

    used = set()
    for path in BOOTSTRAP.parent.glob("*.py"):
        used |= set(re.findall(r'InstallError\(\s*"([a-z_]+)"', path.read_text(encoding="utf-8")))
    assert used
    assert used <= set(EXIT_CODES)


def test_bootstrap_can_be_read_by_an_old_python() -> None:
    import ast

    ast.parse(BOOTSTRAP.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_bootstrap_on_an_old_python_goes_over_to_a_newer_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import runpy

    names = runpy.run_path(str(BOOTSTRAP))
    scope = names["main"].__globals__
    monkeypatch.setitem(scope, "NEEDED", (99, 0))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert names["main"]() == 5
    told = capsys.readouterr().err
    assert "python_missing" in told
    assert "Install Python" in told


def test_bootstrap_alone_lists_its_commands() -> None:
    ended = subprocess.run([sys.executable, str(BOOTSTRAP), "--help"], capture_output=True)
    text = ended.stdout.decode()
    assert ended.returncode == 0
    for name in ("demo", "test", "hosts", "make-bundle", "uninstall"):
        assert name in text


def made_bundle(folder: Path) -> Path:
    (folder / "wheels").mkdir(parents=True)
    (folder / "wheels" / "a.whl").write_bytes(b"wheel")
    bundle._write_list(folder)
    return folder


def test_a_whole_bundle_is_believed_and_a_changed_one_is_not(tmp_path: Path) -> None:
    folder = made_bundle(tmp_path / "bundle")
    assert bundle.check(folder) == folder / "wheels"
    (folder / "wheels" / "a.whl").write_bytes(b"wh33l")
    with pytest.raises(InstallError) as failed:
        bundle.check(folder)
    assert failed.value.code == "bad_bundle"
    assert "a.whl" in failed.value.message


def test_a_bundle_for_another_machine_is_refused(tmp_path: Path) -> None:
    folder = made_bundle(tmp_path / "bundle")
    told = json.loads((folder / "bundle.json").read_text())
    told["made_for"] = "win32 AMD64 Python 3.12"
    (folder / "bundle.json").write_text(json.dumps(told))
    with pytest.raises(InstallError, match="win32 AMD64"):
        bundle.check(folder)
    with pytest.raises(InstallError, match="is no bundle"):
        bundle.check(tmp_path)


def test_a_bundle_that_broke_off_is_taken_up_and_other_folders_are_spared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def run(command: list[str], **_: Any) -> tuple[int, str]:
        ran.append(command)
        return 0, ""

    monkeypatch.setattr(bundle, "run_visibly", run)
    folder = made_bundle(tmp_path / "bundle")
    (folder / "bundle.json").unlink()
    bundle.make(tmp_path, Path("python"), folder, Machine(), quiet(), extras=())
    assert bundle.check(folder) == folder / "wheels"
    assert str(tmp_path) in ran[0]
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(InstallError, match=r"holds other things \(thesis\.txt\)"):
        bundle.make(tmp_path, Path("python"), folder, Machine(), quiet())


def test_weights_of_a_bundle_come_in_whole_and_never_replace_others(
    tmp_path: Path, home: Path
) -> None:
    source = tmp_path / "bundle" / "weights" / "tiny"
    source.mkdir(parents=True)
    (source / "record.json").write_text("{}")
    report = quiet()
    bundle.take_weights(tmp_path / "bundle", home, report)
    bundle.take_weights(tmp_path / "bundle", home, report)
    assert [step.state for step in report.steps] == ["done", "skipped"]
    assert (home / "weights" / "tiny" / "record.json").exists()


def test_a_failing_check_does_not_hide_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def run(command: list[str], **_: Any) -> tuple[int, str]:
        ran.append(command)
        return (1, "") if "ruff" in command else (0, "")

    monkeypatch.setattr(checks, "run_visibly", run)
    report = quiet()
    checks.run(tmp_path, Path("python"), Machine(), report, ("lint", "types", "tests"))
    assert [step.state for step in report.steps] == ["failed", "done", "done"]
    assert len(ran) == 3
    assert not report.ok
