"""Where ChromaBridge keeps a user's things, and where a site keeps its policy, by system."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from install.machine import Machine


def home(machine: Optional[Machine] = None) -> Path:
    """The user's folder for weights, acceptances and settings; CHROMABRIDGE_HOME overrides it.

    The same rule as in host_plugins.places, which this package may not import; a test holds them
    together.
    """
    machine = machine or Machine()
    env = machine.env
    if env.get("CHROMABRIDGE_HOME"):
        return Path(env["CHROMABRIDGE_HOME"])
    if machine.windows:
        base = env.get("LOCALAPPDATA")
        return (Path(base) if base else machine.home / "AppData" / "Local") / "ChromaBridge"
    if machine.mac:
        return machine.home / "Library" / "Application Support" / "ChromaBridge"
    base = env.get("XDG_DATA_HOME")
    return (Path(base) if base else machine.home / ".local" / "share") / "chromabridge"


def policies(machine: Optional[Machine] = None) -> list[Path]:
    """The files of site policy, all of which hold at once.

    The first belongs to the administrator of the machine. CHROMABRIDGE_POLICY names a further one
    (for farms and containers), which can forbid more but allow nothing.
    """
    machine = machine or Machine()
    if machine.windows:
        first = Path(machine.env.get("PROGRAMDATA") or "C:/ProgramData") / "ChromaBridge"
    elif machine.mac:
        first = Path("/Library/Application Support/ChromaBridge")
    else:
        first = Path("/etc/chromabridge")
    further = machine.env.get("CHROMABRIDGE_POLICY")
    return [first / "policy.json", *([Path(further)] if further else [])]
