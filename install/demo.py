"""Coloring the bundled clips through a server of their own, and laying results out to see."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from install.environment import pip_environment, run_visibly
from install.errors import InstallError
from install.machine import Machine
from install.report import Report

CLIPS = ("city", "demo")
OUTPUT = "demo_out"
STOP_S = 15.0


def run(root: Path, python: Path, machine: Machine, report: Report) -> list[Path]:
    """Color each bundled clip and make its contact sheet; returns the sheets.

    The server keeps everything in demo_out/, so that a server of the user's own is not touched.
    Raises InstallError `demo_failed`.
    """
    output = root / OUTPUT
    output.mkdir(exist_ok=True)
    env = pip_environment(machine)
    env["CHROMABRIDGE_HOME"] = str(output / "home")
    command = str(machine.venv_command(root / ".venv", "chromabridge"))
    sheets = []
    try:
        for name in CLIPS:
            sheets.append(_one(root, name, command, python, env, report))
    finally:
        _stop(command, env)
    return sheets


def _one(
    root: Path, name: str, command: str, python: Path, env: dict[str, str], report: Report
) -> Path:
    folder = root / "tests" / "footage" / name
    clip = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))[0]
    truth = folder / clip["file"]
    plate = truth.with_name(f"{truth.stem}_bw{truth.suffix}")
    exemplar = folder / clip["exemplar_first"]
    result = root / OUTPUT / f"{clip['clip']}_color.mp4"
    sheet = root / OUTPUT / f"{clip['clip']}_sheet.png"

    report.begin(f"demo {clip['clip']}", f"{clip['frames']} frames")
    pinned = f"{clip['exemplar_first_index']}={exemplar}"
    words = [command, "colorize", str(plate), "-e", pinned, "-o", str(result), "--overwrite"]
    _run(words, root, env, report)
    report.done(f"demo {clip['clip']}", str(result))
    words = [str(python), "-m", "bridge_server.contact_sheet"]
    _run(
        [*words, str(plate), str(exemplar), str(result), str(truth), str(sheet)], root, env, report
    )
    report.done("contact sheet", f"{sheet} (plate | exemplar | result | true color)")
    return sheet


def _stop(command: str, env: dict[str, str]) -> None:
    """End the demo's own server; waits until it has taken its connection file away."""
    quiet = subprocess.DEVNULL
    subprocess.run([command, "stop"], env=env, stdin=quiet, stdout=quiet, stderr=quiet, check=False)
    file = Path(env["CHROMABRIDGE_HOME"]) / "run" / "server.json"
    deadline = time.monotonic() + STOP_S
    while file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def _run(words: list[str], root: Path, env: dict[str, str], report: Report) -> None:
    code, tail = run_visibly(words, env=env, cwd=root, out=report.stream)
    if code != 0:
        lines = tail.splitlines() or ["no output"]
        told = next((line for line in lines if line.startswith("error ")), lines[-1])
        raise InstallError(
            "demo_failed",
            f"{Path(words[0]).name} {words[1]} ended with {code}: {told}",
            hint="Its output above says why; the server's log is in demo_out/home.",
        )
