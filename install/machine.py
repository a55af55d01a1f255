"""The facts of this machine that the installer decides by, as one value that tests can invent."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

Run = Callable[[Sequence[str]], Optional[str]]


def capture(command: Sequence[str]) -> Optional[str]:
    """What a command prints, both streams, or None when it cannot run, fails or takes over 20 s."""
    try:
        ended = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout.decode("utf-8", "replace") if ended.returncode == 0 else None


@dataclass(frozen=True)
class Machine:
    """system: "linux", "darwin" or "win32", as sys.platform names it. cpu: "x86_64", "arm64", ...

    find: a command's path or None, as shutil.which. run: see capture. exists: a path's presence.
    """

    system: str = sys.platform
    cpu: str = field(default_factory=platform.machine)
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    home: Path = field(default_factory=Path.home)
    find: Callable[[str], Optional[str]] = shutil.which
    run: Run = capture
    exists: Callable[[Path], bool] = Path.exists

    @property
    def windows(self) -> bool:
        return self.system == "win32"

    @property
    def mac(self) -> bool:
        return self.system == "darwin"

    def venv_python(self, venv: Path) -> Path:
        """The interpreter of a virtual environment."""
        return venv / "Scripts" / "python.exe" if self.windows else venv / "bin" / "python"

    def venv_command(self, venv: Path, name: str) -> Path:
        """A command installed in a virtual environment."""
        return venv / "Scripts" / f"{name}.exe" if self.windows else venv / "bin" / name


def nvidia_driver(machine: Machine) -> Optional[str]:
    """The version of the NVIDIA driver, or None when there is none."""
    if machine.mac:
        return None
    if machine.system == "linux":
        text = machine.run(["cat", "/proc/driver/nvidia/version"])
        if text:
            words = [word for word in text.split() if word.count(".") >= 1 and word[0].isdigit()]
            return words[0] if words else "unknown"
    tool = machine.find("nvidia-smi")
    if not tool:
        return None
    text = machine.run([tool, "--query-gpu=driver_version", "--format=csv,noheader"])
    return text.split()[0] if text and text.split() else None
