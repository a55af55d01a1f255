"""One command for all that keeps the house in order: lint, types, imports, tests, host Pythons."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from install.environment import group_requirements, pip_environment, run_visibly, why_pip_failed
from install.errors import InstallError
from install.interpreters import HOST_MINORS, Interpreter, find
from install.machine import Machine
from install.report import Report

HOST_TESTS = ("tests/hosts", "tests/wire")
NAMES = ("lint", "format", "imports", "types", "docs", "hosts", "tests")
#: One test process a core; the tests of a file stay together, since they share what is costly.
SPREAD = ("-n", "auto", "--dist", "loadfile")
#: What else runs on the oldest of them, which is also the floor of the installer.
FLOOR_TESTS = ("tests/installer",)


def run(root: Path, python: Path, machine: Machine, report: Report, only: Sequence[str]) -> None:
    """Run every check, also after one has failed; the report says which did.

    only: of NAMES; empty for all.
    """
    module = [str(python), "-m"]
    static = {
        "lint": [*module, "ruff", "check", "."],
        "format": [*module, "ruff", "format", "--check", "."],
        "imports": [str(machine.venv_command(root / ".venv", "lint-imports"))],
        "types": [*module, "mypy"],
        "docs": [*module, "mkdocs", "build", "--strict", "--quiet", "--site-dir", "build/site"],
    }
    for name, command in static.items():
        if not only or name in only:
            _check(name, command, root, machine, report)
    if not only or "hosts" in only:
        _check_hosts(root, python, machine, report)
    if not only or "tests" in only:
        _check("tests", [*module, "pytest", *SPREAD], root, machine, report)


def _check(name: str, command: Sequence[str], root: Path, machine: Machine, report: Report) -> None:
    report.begin(name)
    code, _ = run_visibly(command, env=pip_environment(machine), cwd=root, out=report.stream)
    if code == 0:
        report.done(name, "passed")
    else:
        report.failed(
            name,
            InstallError(
                "check_failed",
                f"{Path(command[0]).name} {' '.join(command[1:])} ended with {code}",
                hint="Its output above says what and where.",
            ),
        )


def _check_hosts(root: Path, python: Path, machine: Machine, report: Report) -> None:
    folders = [name for name in HOST_TESTS if any((root / name).glob("test_*.py"))]
    if not folders:
        report.skipped("hosts", "there are no host tests")
        return
    requirements = group_requirements(python, root, ["hosts"])
    for minor, interpreter in sorted(find(machine).items()):
        name = f"hosts on {interpreter.label}"
        if minor == sys.version_info[1]:
            report.skipped(name, "the main tests run on it")
            continue
        report.begin(name)
        try:
            own = _host_python(root, interpreter, requirements, machine, report)
        except InstallError as error:
            report.skipped(name, error.message)
            continue
        more = FLOOR_TESTS if minor == min(HOST_MINORS) else ()
        _check(
            name, [str(own), "-m", "pytest", "-q", *SPREAD, *folders, *more], root, machine, report
        )


def _host_python(
    root: Path,
    interpreter: Interpreter,
    requirements: Sequence[str],
    machine: Machine,
    report: Report,
) -> Path:
    """A small environment of an interpreter, made once and kept beside the repository's own."""
    venv = root / ".venv-hosts" / f"py3.{interpreter.version[1]}"
    python = machine.venv_python(venv)
    stamp = venv / "chromabridge.json"
    text = json.dumps([interpreter.label, *requirements])
    wanted = hashlib.sha256(text.encode()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and python.exists():
        return python
    shutil.rmtree(venv, ignore_errors=True)
    made = subprocess.run(
        [str(interpreter.path), "-m", "venv", str(venv)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if made.returncode != 0:
        raise InstallError("venv_missing", f"Python {interpreter.label} cannot make environments")
    command = [str(python), "-m", "pip", "install", "-q", "--prefer-binary", *requirements]
    env = pip_environment(machine)
    code, tail = run_visibly(command, env=env, cwd=root, out=report.stream)
    if code != 0:
        shutil.rmtree(venv, ignore_errors=True)
        raise why_pip_failed(tail)
    temporary = stamp.with_suffix(".part")
    temporary.write_text(wanted, encoding="utf-8")
    temporary.replace(stamp)
    return python
