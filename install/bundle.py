"""Everything an installation needs, in one folder, for a machine without a network.

Made on a connected machine of the same system, processor and Python; used with --from-bundle.
Weights come along only if they are installed here and may be used here, with their licence note.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from install.environment import group_requirements, pip_environment, run_visibly, why_pip_failed
from install.errors import InstallError
from install.kernel_source import PACKAGE, VERSION
from install.machine import Machine
from install.report import Report

SCHEMA = 1
LIST = "bundle.json"
_OWN = {LIST, LIST + ".part", "wheels", "weights"}
TOOLS = ("hatchling>=1.25", "setuptools", "wheel", "editables")


def make(
    root: Path,
    python: Path,
    folder: Path,
    machine: Machine,
    report: Report,
    *,
    extras: Sequence[str] = ("server",),
    groups: Sequence[str] = (),
    weights: Optional[Path] = None,
) -> Path:
    """Fill a new folder with wheels, the sampler's source and weights; returns it.

    weights: the user's folder whose installed weights come along, or None for none. A listing with
    the hash of every file is written last: without it the folder is no bundle.
    Raises InstallError `offline`, `pip_failed`, `disk_full` or `not_writable`.
    """
    foreign = {path.name for path in folder.iterdir()} - _OWN if folder.exists() else set()
    if foreign:
        raise InstallError(
            "not_writable",
            f"{folder} holds other things ({', '.join(sorted(foreign)[:3])})",
            hint="Name a new folder; one that broke off is taken up again.",
        )
    (folder / LIST).unlink(missing_ok=True)
    wheels = folder / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    report.begin("wheels", "as many as an installation downloads")
    project = f"{root}[{','.join(extras)}]" if extras else str(root)
    wanted = [project, *group_requirements(python, root, groups), *TOOLS]
    command = [str(python), "-m", "pip", "wheel", "--wheel-dir", str(wheels), *wanted]
    code, tail = run_visibly(command, env=pip_environment(machine), cwd=root, out=report.stream)
    if code != 0:
        raise why_pip_failed(tail)
    report.done("wheels", f"{len(list(wheels.glob('*.whl')))} in {wheels}")
    _add_sampler(python, wheels, root, machine, report)
    if weights is not None:
        _add_weights(weights, folder, report)
    _write_list(folder)
    report.done("bundle", f"{folder}; use it with: bootstrap.py server --from-bundle {folder}")
    return folder


def check(folder: Path) -> Path:
    """The wheels' folder of a whole bundle made for this machine.

    Raises InstallError `bad_bundle`.
    """
    hint = "Make the bundle on a machine of the same kind, and copy all of it."
    try:
        told: dict[str, Any] = json.loads((folder / LIST).read_text(encoding="utf-8"))
        files = dict(told["files"])
        made_for = told["made_for"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InstallError("bad_bundle", f"{folder} is no bundle: {error}", hint=hint) from None
    if made_for != _this_machine():
        raise InstallError(
            "bad_bundle", f"expected a bundle for {_this_machine()}, got {made_for}", hint=hint
        )
    for name, digest in files.items():
        path = folder / name
        if not path.is_file() or _sha256(path) != digest:
            raise InstallError(
                "bad_bundle", f"{name} is missing from the bundle or changed", hint=hint
            )
    return folder / "wheels"


def take_weights(folder: Path, home: Path, report: Report) -> None:
    """Copy the bundle's weights into the user's folder, where they are not there already.

    Acceptances do not travel: who uses non-commercial weights here accepts their terms here.
    """
    for source in sorted((folder / "weights").glob("*/record.json")):
        target = home / "weights" / source.parent.name
        if target.exists():
            report.skipped(f"weights {target.name}", "already installed")
            continue
        part = target.with_name(f".new-{target.name}")
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(source.parent, part)
        part.rename(target)
        report.done(f"weights {target.name}", str(target))


def _add_sampler(python: Path, wheels: Path, root: Path, machine: Machine, report: Report) -> None:
    """The sampler's source, for machines with CUDA and a compiler; a bundle is whole without."""
    command = [str(python), "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation"]
    command += ["--no-binary", ":all:", "--dest", str(wheels), f"{PACKAGE}=={VERSION}"]
    code, _ = run_visibly(command, env=pip_environment(machine), cwd=root, out=report.stream)
    if code == 0:
        report.done("sampler source", VERSION)
    else:
        report.skipped("sampler source", "pip could not fetch it; the sampler is optional")


def _add_weights(home: Path, folder: Path, report: Report) -> None:
    for record in sorted((home / "weights").glob("*/record.json")):
        name = record.parent.name
        shutil.copytree(record.parent, folder / "weights" / name, dirs_exist_ok=True)
        report.done(f"weights {name}", "with their licence note")


def _write_list(folder: Path) -> None:
    files = {
        path.relative_to(folder).as_posix(): _sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != LIST
    }
    told = {"schema": SCHEMA, "made_for": _this_machine(), "files": files}
    part = folder / (LIST + ".part")
    part.write_text(json.dumps(told, indent=1), encoding="utf-8")
    part.replace(folder / LIST)


def _this_machine() -> str:
    machine = Machine()
    return f"{machine.system} {machine.cpu} Python {sys.version_info[0]}.{sys.version_info[1]}"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
