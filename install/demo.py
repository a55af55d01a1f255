"""Coloring the bundled clips through a server of their own, and laying results out to see."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from install.environment import pip_environment, run_visibly
from install.errors import InstallError
from install.machine import Machine
from install.report import Report

CLIPS = ("demo", "city")
OUTPUT = "demo_out"


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
        subprocess.run(
            [command, "stop"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
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
    words = [command, "colorize", str(plate), "-e", str(exemplar), "-o", str(result), "--overwrite"]
    _run(words, root, env, report)
    report.done(f"demo {clip['clip']}", str(result))
    words = [str(python), "-m", "bridge_server.contact_sheet"]
    _run(
        [*words, str(plate), str(exemplar), str(result), str(truth), str(sheet)], root, env, report
    )
    report.done("contact sheet", f"{sheet} (plate | exemplar | result | true color)")
    return sheet


def _run(words: list[str], root: Path, env: dict[str, str], report: Report) -> None:
    code, tail = run_visibly(words, env=env, cwd=root, out=report.stream)
    if code != 0:
        last = tail.splitlines()[-1] if tail else "no output"
        raise InstallError(
            "demo_failed",
            f"{Path(words[0]).name} {words[1]} ended with {code}: {last}",
            hint="Its output above says why; the server's log is in demo_out/home.",
        )
