"""Taking ChromaBridge off this machine: what it made, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from install import hosts
from install.machine import Machine
from install.report import Report

#: What bootstrap makes in the repository.
IN_REPOSITORY = (".venv", ".venv-hosts", "demo_out")
#: What is the user's and goes only when asked: acceptances, weights, settings, snapshots.
KEPT = "weights, acceptances and settings"


def run(root: Path, home: Path, machine: Machine, report: Report, *, everything: bool) -> None:
    """Stop the server, take the plugins out of the hosts, remove the environments.

    everything: the user's folder too, with weights and the audit file of licences.
    """
    command = machine.venv_command(root / ".venv", "chromabridge")
    if command.exists():
        subprocess.run(
            [str(command), "stop"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    had = hosts.remove(machine, home)
    if had:
        report.done("hosts", f"taken out of {', '.join(had)}; restart them")
    else:
        report.skipped("hosts", "no host had the plugin")
    for name in IN_REPOSITORY:
        folder = root / name
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
            report.done(name, "removed")
        else:
            report.skipped(name, "not there")
    if not home.exists():
        report.skipped("your folder", f"{home} is not there")
    elif everything:
        shutil.rmtree(home, ignore_errors=True)
        report.done("your folder", f"{home} removed")
    else:
        report.skipped("your folder", f"{KEPT} stay in {home}; --everything removes them too")
