"""Running pip for something that may take long: into a log, within a time limit."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from install.environment import pip_environment
from install.errors import InstallError
from install.machine import Machine

TIME_LIMIT_S = 1800.0


def run_pip(
    python: Path,
    machine: Machine,
    words: Sequence[str],
    *,
    log: Optional[Path],
    env: Optional[dict[str, str]] = None,
    limit_s: float = TIME_LIMIT_S,
) -> None:
    """Run pip with all its output in the log; on a time-out its whole process group ends.

    Raises InstallError `kernel_failed`.
    """
    command = [str(python), "-m", "pip", *words]
    with (log or Path(os.devnull)).open("ab") as out:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=env or pip_environment(machine),
            start_new_session=not machine.windows,
        )
        try:
            code = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            _end(child, machine)
            raise InstallError(
                "kernel_failed",
                f"pip {words[0]} took more than {limit_s:.0f} s and was stopped",
                hint=f"Its log is {log}; allow more time with --time-limit.",
            ) from None
        except BaseException:
            _end(child, machine)
            raise
    if code != 0:
        last = log.read_text(encoding="utf-8", errors="replace") if log else ""
        lines = [line for line in last.splitlines() if "error" in line.lower()]
        raise InstallError(
            "kernel_failed",
            f"pip {words[0]} ended with {code}" + (f": {lines[0].strip()[:200]}" if lines else ""),
            hint=f"Its log is {log}; ChromaBridge works without the sampler.",
        )


def _end(child: subprocess.Popen[bytes], machine: Machine) -> None:
    if machine.windows:
        child.kill()
    else:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
