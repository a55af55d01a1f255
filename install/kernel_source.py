"""The sampler's own source: fetched by pip, unpacked safely, set to what is to be built."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Optional

from install.errors import InstallError
from install.logged_pip import run_pip
from install.machine import Machine

PACKAGE = "spatial-correlation-sampler"
VERSION = "0.5.0"


def fetch(
    python: Path, machine: Machine, source: str, wheels: Optional[Path], work: Path, log: Path
) -> Path:
    """The unpacked source tree."""
    if not _can_import(python, "setuptools"):
        run_pip(python, machine, ["install", "setuptools", "wheel"], log=log)
    words = ["download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:"]
    words += ["--dest", str(work), source]
    if wheels is not None:
        words += ["--no-index", "--find-links", str(wheels)]
    run_pip(python, machine, words, log=log)
    found = sorted(work.glob("*.tar.gz"))
    if not found:
        raise InstallError("kernel_failed", f"pip brought no source archive of {source}")
    with tarfile.open(found[0]) as archive:
        _unpack(archive, work / "source")
    return next(path.parent for path in sorted((work / "source").rglob("setup.py")))


def _unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """Plain files and folders only, none outside of the folder."""
    root = folder.resolve()
    for member in archive.getmembers():
        target = (root / member.name).resolve()
        if root not in (target, *target.parents) or not (member.isfile() or member.isdir()):
            raise InstallError("bad_archive", f"the source archive holds {member.name!r}")
    for member in archive.getmembers():
        target = root / member.name
        if member.isdir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        data = archive.extractfile(member)
        assert data is not None
        with data, target.open("wb") as file:
            shutil.copyfileobj(data, file)


def adapt(setup: Path, kind: str, machine: Machine) -> None:
    """Set the kind, today's C++ standard and this system's flags in the package's own setup.py."""
    flags = {"win32": "'/std:c++20', '/openmp'", "darwin": "'-std=c++20'"}
    changes = {
        "CPU_ONLY = False": f"CPU_ONLY = {kind == 'cpu'}",
        "'-std=c++17', '-fopenmp'": flags.get(machine.system, "'-std=c++20', '-fopenmp'"),
        "'-lgomp'": "'-lgomp'" if machine.system == "linux" else "",
    }
    text = setup.read_text(encoding="utf-8")
    for old, new in changes.items():
        if old not in text:
            raise InstallError(
                "kernel_failed",
                f"the sampler's setup.py has no {old!r} any more",
                hint=f"ChromaBridge knows how to build {PACKAGE} {VERSION}.",
            )
        text = text.replace(old, new)
    setup.write_text(text, encoding="utf-8")


def _can_import(python: Path, name: str) -> bool:
    return subprocess.call([str(python), "-I", "-c", f"import {name}"]) == 0
