"""Making the server's own virtual environment, once, and knowing when it is still good."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, TextIO

from install.errors import InstallError
from install.machine import Machine
from install.report import Report
from install.torch_choice import TorchChoice, choose

STAMP = "chromabridge.json"
GIB = 1 << 30
#: Free space that an installation needs, with pip's temporary files.
NEEDED_BYTES = {"cpu": 3 * GIB, "default": 9 * GIB, "cuda": 9 * GIB}

_READ_GROUPS = """
import json, sys
try:
    import tomllib
except ImportError:
    from pip._vendor import tomli as tomllib
groups = tomllib.load(open(sys.argv[1], "rb")).get("dependency-groups", {})
def flat(name):
    for item in groups[name]:
        if isinstance(item, str):
            yield item
        else:
            yield from flat(item["include-group"])
print(json.dumps(sorted({item for name in sys.argv[2:] for item in flat(name)})))
"""


@dataclass(frozen=True)
class Recipe:
    """What goes into an environment: extras of the project, and dependency groups."""

    root: Path
    extras: tuple[str, ...] = ("server",)
    groups: tuple[str, ...] = ()
    torch: str = "auto"
    torch_index: Optional[str] = None
    wheels: Optional[Path] = None

    @property
    def venv(self) -> Path:
        return self.root / ".venv"


def ensure(recipe: Recipe, machine: Machine, report: Report) -> Path:
    """Make or complete the environment; returns its interpreter.

    Done in steps that may each be broken off: the stamp that says "complete" is written last.
    Raises InstallError `venv_missing`, `disk_full`, `not_writable`, `pip_failed`.
    """
    python = machine.venv_python(recipe.venv)
    stamp = _read_stamp(recipe.venv)
    if stamp is not None and _covers(stamp, recipe) and _runs(python):
        report.skipped("environment", f"{recipe.venv.name} is complete and current")
        return python
    if not (_runs(python) and _has_pip(python)):
        report.begin("venv")
        _make_venv(recipe.venv)
        report.done("venv", f"{recipe.venv} with Python {sys.version.split()[0]}")
    else:
        report.skipped("venv", f"{recipe.venv.name} is there; completing it")
    if recipe.wheels is not None:
        torch = TorchChoice("default", "as the bundle holds it")
    else:
        torch = choose(machine, python, asked=recipe.torch, index=recipe.torch_index)
    _check_disk(recipe.root, NEEDED_BYTES[torch.kind], report)
    extras, groups = _merged(stamp, recipe)
    _install(recipe, python, torch, extras, groups, report)
    _write_stamp(recipe, extras, groups)
    return python


def pip_environment(machine: Machine) -> dict[str, str]:
    """The environment for pip and for what runs in the venv: the user's, less foreign Pythons."""
    env = {
        name: value
        for name, value in machine.env.items()
        if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    }
    env.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_USER="0", PIP_NO_INPUT="1")
    return env


def run_visibly(
    command: Sequence[str], *, env: dict[str, str], cwd: Path, out: TextIO
) -> tuple[int, str]:
    """Run a child whose output the user sees as it comes; returns its exit code and last lines."""
    tail: list[str] = []
    with subprocess.Popen(
        list(command),
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as child:
        assert child.stdout is not None
        for raw in child.stdout:
            line = raw.decode("utf-8", "replace").rstrip()
            tail = [*tail[-30:], line]
            print(line, file=out, flush=True)
    return child.returncode, "\n".join(tail)


def why_pip_failed(tail: str) -> InstallError:
    """The error that fits the last lines of a failed pip run."""
    text = tail.lower()
    if "no space left" in text or "errno 28" in text:
        return InstallError(
            "disk_full", "the disk is full", hint="Free some space, then run this again."
        )
    unreachable = ("connection", "timed out", "name resolution", "getaddrinfo", "proxyerror")
    if any(word in text for word in unreachable):
        return InstallError(
            "offline",
            "pip cannot reach its package index",
            hint="Connect this machine, or install a bundle made on a connected one: "
            "python3 install/bootstrap.py make-bundle, then --from-bundle.",
        )
    last = next((line for line in reversed(tail.splitlines()) if "error" in line.lower()), "")
    return InstallError(
        "pip_failed",
        f"pip could not install the packages: {last.strip() or 'see its output above'}",
        hint="Mend what pip names, then run this again; finished downloads are kept by pip.",
    )


def _make_venv(folder: Path) -> None:
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise InstallError(
            "venv_missing",
            f"this Python {version} has no module {' and no module '.join(missing)}",
            hint=f"On Debian or Ubuntu: apt install python{version}-venv. Elsewhere: install "
            "Python from python.org.",
        )
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
    ended = subprocess.run(
        [sys.executable, "-m", "venv", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if ended.returncode != 0:
        shutil.rmtree(folder, ignore_errors=True)
        text = ended.stdout.decode("utf-8", "replace").strip()
        code = "not_writable" if "Permission denied" in text else "venv_missing"
        raise InstallError(
            code,
            f"the virtual environment could not be made: {text.splitlines()[-1] if text else '?'}",
            hint="Work in a folder that you own, with a complete Python.",
        )


def _check_disk(folder: Path, needed: int, report: Report) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InstallError(
            "disk_full",
            f"expected {needed / GIB:.0f} GiB free in {folder}, got {free / GIB:.1f} GiB",
            hint="Free some space, or clone ChromaBridge onto another disk.",
        )
    report.done("disk", f"{free / GIB:.0f} GiB free, up to {needed / GIB:.0f} needed")


def _install(
    recipe: Recipe,
    python: Path,
    torch: TorchChoice,
    extras: Sequence[str],
    groups: Sequence[str],
    report: Report,
) -> None:
    env = pip_environment(Machine())
    pip = [str(python), "-m", "pip", "install"]
    if recipe.wheels is not None:
        pip += ["--no-index", "--find-links", str(recipe.wheels)]
    elif torch.index and "server" in extras:
        report.begin("torch", torch.reason)
        command = [*pip, "--index-url", torch.index, "torch", "torchvision"]
        code, tail = run_visibly(command, env=env, cwd=recipe.root, out=report.stream)
        if code != 0:
            reason = f"{torch.index} did not answer; the package index offers larger wheels"
            report.skipped("torch", f"{reason} ({why_pip_failed(tail).code})")
        else:
            report.done("torch", torch.reason)
    else:
        report.done("torch", f"{torch.kind}: {torch.reason}")
    report.begin("packages", "several minutes the first time")
    target = f".[{','.join(extras)}]" if extras else "."
    command = [*pip, "-e", target, *group_requirements(python, recipe.root, groups)]
    code, tail = run_visibly(command, env=env, cwd=recipe.root, out=report.stream)
    if code != 0:
        raise why_pip_failed(tail)
    report.done("packages", f"extras {', '.join(extras)}" + _and(groups))


def group_requirements(python: Path, root: Path, groups: Sequence[str]) -> list[str]:
    """The requirements of dependency groups in pyproject.toml; older pips do not read groups."""
    if not groups:
        return []
    command = [str(python), "-c", _READ_GROUPS, str(root / "pyproject.toml"), *groups]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if ended.returncode != 0:
        last = ended.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise InstallError("pip_failed", f"pyproject.toml cannot be read: {' '.join(last)}")
    return [str(item) for item in json.loads(ended.stdout)]


def _and(groups: Sequence[str]) -> str:
    return f"; groups {', '.join(groups)}" if groups else ""


def _runs(python: Path) -> bool:
    return python.exists() and _call(python, "import sys")


def _has_pip(python: Path) -> bool:
    return _call(python, "import pip")


def _call(python: Path, code: str) -> bool:
    try:
        ended = subprocess.run(
            [str(python), "-I", "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError:
        return False
    return ended.returncode == 0


def _fingerprint(recipe: Recipe) -> str:
    digest = hashlib.sha256((recipe.root / "pyproject.toml").read_bytes())
    digest.update(f"{sys.version_info[:2]} {recipe.root}".encode())
    return digest.hexdigest()


def _read_stamp(venv: Path) -> Optional[dict[str, object]]:
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) else None


def _names(stamp: Optional[dict[str, object]], key: str) -> list[str]:
    value = stamp.get(key) if stamp else None
    return [str(name) for name in value] if isinstance(value, list) else []


def _covers(stamp: dict[str, object], recipe: Recipe) -> bool:
    return (
        stamp.get("fingerprint") == _fingerprint(recipe)
        and set(recipe.extras) <= set(_names(stamp, "extras"))
        and set(recipe.groups) <= set(_names(stamp, "groups"))
    )


def _merged(stamp: Optional[dict[str, object]], recipe: Recipe) -> tuple[list[str], list[str]]:
    """Extras and groups asked for now, with those of earlier runs, so that none is taken away."""
    extras = sorted({*recipe.extras, *_names(stamp, "extras")})
    groups = sorted({*recipe.groups, *_names(stamp, "groups")})
    return extras, groups


def _write_stamp(recipe: Recipe, extras: Sequence[str], groups: Sequence[str]) -> None:
    stamp = {"fingerprint": _fingerprint(recipe), "extras": extras, "groups": groups}
    path = recipe.venv / STAMP
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
    temporary.replace(path)
