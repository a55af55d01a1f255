"""Putting the host plugins where Nuke, Resolve and Blender find them, and taking them away again.

One folder of the user's holds the plugins' code with the pure Python of msgpack; a host gets only
the few lines that lead there. Nothing is installed into a host's own Python.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from install.errors import InstallError
from install.machine import Machine
from install.weight_store import swap_in, write_json

NAMES = ("nuke", "resolve", "blender")
BEGIN = "# ChromaBridge begin"
END = "# ChromaBridge end"
#: the one file that Resolve lists in a menu, and Blender among its add-ons
LAUNCHERS = {"resolve": "ChromaBridge.py", "blender": "chromabridge.py"}
NOTE = "install.json"
_MSGPACK = ("__init__.py", "exceptions.py", "ext.py", "fallback.py")


@dataclass(frozen=True)
class Host:
    """A host and the version of our plugin in it; "" for none. place: the file that leads to us."""

    name: str
    version: str
    place: Path


def install(
    root: Path,
    home: Path,
    machine: Machine,
    *,
    msgpack: Path,
    server_command: Sequence[str],
    names: Sequence[str] = (),
) -> list[Host]:
    """Copy the plugins to the user's folder and lead each host there.

    msgpack: the installed package whose Python files are copied. names: hosts to serve even if they
    are not seen; empty for all that are. Raises InstallError `not_writable`.
    """
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise InstallError(
            "unknown_host", f"expected of {', '.join(NAMES)}, got {', '.join(unknown)}"
        )
    try:
        folder = _copy_plugins(root, home, msgpack)
        for name in names or [name for name in NAMES if is_here(name, machine)]:
            _lead(name, machine, folder)
        note = {"plugin_folder": str(folder), "server_command": list(server_command)}
        write_json(home / NOTE, {**read_note(home), **note, "version": version(root)})
    except OSError as error:
        raise InstallError(
            "not_writable",
            f"{error.filename or home} cannot be written: {error.strerror}",
            hint="Close the host, or choose a folder that you own with CHROMABRIDGE_HOME.",
        ) from None
    return installed(machine, home)


def installed(machine: Machine, home: Path) -> list[Host]:
    """Every host that we know, with the version of the plugin that it would load."""
    ours = str(read_note(home).get("version", "")) if plugin_folder(home).is_dir() else ""
    return [
        Host(name, ours if _leads(name, machine) else "", place(name, machine)) for name in NAMES
    ]


def remove(machine: Machine, home: Path) -> list[str]:
    """Take everything away again; returns the names of the hosts that had it."""
    had = [name for name in NAMES if _leads(name, machine)]
    for name in had:
        for path in places(name, machine):
            if name == "nuke":
                rest = _without_block(path.read_text(encoding="utf-8"))
                _write(path, rest) if rest.strip() else path.unlink()
            elif _is_ours(path):
                path.unlink()
    shutil.rmtree(plugin_folder(home), ignore_errors=True)
    (home / NOTE).unlink(missing_ok=True)
    return had


def place(name: str, machine: Machine) -> Path:
    """The one file of a host that leads to us; of Blender's versions, the newest one's."""
    found = places(name, machine)
    return found[-1] if found else _blender_support(machine) / LAUNCHERS[name]


def places(name: str, machine: Machine) -> list[Path]:
    """A line in Nuke's start-up file, a launcher among Resolve's scripts or in the add-ons of each
    Blender version that this user has."""
    if name == "nuke":
        return [machine.home / ".nuke" / "init.py"]
    if name == "blender":
        return [folder / LAUNCHERS[name] for folder in _blender_addons(machine)]
    return [_resolve_support(machine) / "Fusion" / "Scripts" / "Utility" / LAUNCHERS[name]]


def is_here(name: str, machine: Machine) -> bool:
    """Whether a host has been used by this user or is installed in its usual place."""
    if name == "nuke":
        return machine.exists(machine.home / ".nuke") or bool(machine.env.get("NUKE_PATH"))
    if name == "blender":
        return machine.exists(_blender_support(machine)) or bool(machine.find("blender"))
    usual = {
        "win32": Path("C:/Program Files/Blackmagic Design/DaVinci Resolve"),
        "darwin": Path("/Applications/DaVinci Resolve"),
    }.get(machine.system, Path("/opt/resolve"))
    return machine.exists(usual) or machine.exists(_resolve_support(machine))


def plugin_folder(home: Path) -> Path:
    """Where the plugins' code lies."""
    return home / "plugins"


def read_note(home: Path) -> dict[str, Any]:
    """What hosts read to find the server: plugin_folder, server_command, version."""
    try:
        note = json.loads((home / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def version(root: Path) -> str:
    """ChromaBridge's own version, from pyproject.toml."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "([^"]+)"', text, re.MULTILINE)
    return found.group(1) if found else ""


def _resolve_support(machine: Machine) -> Path:
    """Resolve's folder of one user."""
    if machine.windows:
        base = machine.env.get("APPDATA")
        roaming = Path(base) if base else machine.home / "AppData" / "Roaming"
        return roaming / "Blackmagic Design" / "DaVinci Resolve" / "Support"
    if machine.mac:
        library = machine.home / "Library" / "Application Support"
        return library / "Blackmagic Design" / "DaVinci Resolve"
    return machine.home / ".local" / "share" / "DaVinciResolve"


def _blender_support(machine: Machine) -> Path:
    """Where Blender keeps one folder for each version."""
    if machine.windows:
        base = machine.env.get("APPDATA")
        roaming = Path(base) if base else machine.home / "AppData" / "Roaming"
        return roaming / "Blender Foundation" / "Blender"
    if machine.mac:
        return machine.home / "Library" / "Application Support" / "Blender"
    base = machine.env.get("XDG_CONFIG_HOME")
    return (Path(base) if base else machine.home / ".config") / "blender"


def _blender_addons(machine: Machine) -> list[Path]:
    """The add-on folders of the versions that this user has started, oldest first."""
    scripts = machine.env.get("BLENDER_USER_SCRIPTS")
    if scripts:
        return [Path(scripts) / "addons"]
    support = _blender_support(machine)
    found = [(_numbers(path.name), path) for path in support.glob("*.*") if _numbers(path.name)]
    return [version / "scripts" / "addons" for _, version in sorted(found)]


def _unstarted_blender(machine: Machine) -> Path:
    """The add-on folder of a Blender that was never started, by what it says of itself."""
    told = machine.run(["blender", "--version"]) if machine.find("blender") else None
    numbers = _numbers((told or "").replace("Blender", "").strip())
    if not numbers:
        raise InstallError(
            "host_failed",
            "no Blender was found",
            hint="Start Blender once, or name its scripts folder in BLENDER_USER_SCRIPTS.",
        )
    version = ".".join(str(part) for part in numbers[:2])
    return _blender_support(machine) / version / "scripts" / "addons"


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split("\n")[0].split(" ")[0].split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()


def _copy_plugins(root: Path, home: Path, msgpack: Path) -> Path:
    """Make the folder anew beside the old one, then swap, so that no host sees half of it."""
    new = home / f".plugins-{os.getpid()}"
    shutil.rmtree(new, ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(
            root / "host_plugins",
            new / "host_plugins",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        (new / "msgpack").mkdir()
        for name in _MSGPACK:
            shutil.copy2(msgpack / name, new / "msgpack" / name)
        startup = root / "host_plugins" / "nuke_host" / "startup"
        if startup.is_dir():
            shutil.copytree(startup, new, dirs_exist_ok=True)
        shutil.copy2(root / "LICENSE", new / "LICENSE")
        swap_in(new, plugin_folder(home))
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return plugin_folder(home)


def _lead(name: str, machine: Machine, folder: Path) -> None:
    found = places(name, machine)
    for path in found or [_unstarted_blender(machine) / LAUNCHERS[name]]:
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == "nuke":
            rest = _without_block(path.read_text(encoding="utf-8")) if path.exists() else ""
            line = f"nuke.pluginAppendPath({folder.as_posix()!r}, addToSysPath=False)"
            block = f"{BEGIN}\nimport nuke\n\n{line}\n{END}\n"
            _write(path, rest + ("" if not rest or rest.endswith("\n") else "\n") + block)
            continue
        launcher = LAUNCHERS[name]
        source = folder / "host_plugins" / f"{name}_host" / "launcher" / launcher
        text = source.read_text(encoding="utf-8")
        line = 'PACKAGE_FOLDER = ""'
        if line not in text:
            raise InstallError("host_failed", f"{launcher} has no line {line!r}")
        _write(path, text.replace(line, f"PACKAGE_FOLDER = {str(folder)!r}"))


def _leads(name: str, machine: Machine) -> bool:
    return any(
        _is_ours(path, BEGIN if name == "nuke" else "ChromaBridge")
        for path in places(name, machine)
    )


def _is_ours(path: Path, mark: str = "ChromaBridge") -> bool:
    try:
        return mark in path.read_text(encoding="utf-8")
    except OSError:
        return False


def _without_block(text: str) -> str:
    return re.sub(rf"{BEGIN}\n.*?{END}\n?", "", text, flags=re.DOTALL)


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
