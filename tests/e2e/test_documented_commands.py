"""Every command that README and documentation print can be typed, and the demo ends in a sheet."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import typer

from bridge_server import contact_sheet
from bridge_server.cli import app
from install import commands, demo
from install.machine import Machine
from install.report import Report

ROOT = Path(commands.__file__).resolve().parent.parent
#: The pages whose commands are run as they stand; those of the others have to exist.
RUN = [ROOT / "README.md", ROOT / "docs" / "quick-start.md", ROOT / "docs" / "weights.md"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
INSTALLER = "python3 install/bootstrap.py"
COMMAND = ".venv/bin/chromabridge"


def printed(pages: list[Path]) -> list[str]:
    """The lines of every ```bash block, once each."""
    lines: dict[str, None] = {}
    for page in pages:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            lines.update(dict.fromkeys(line for line in block.splitlines() if line.strip()))
    return list(lines)


def test_the_pages_for_newcomers_print_only_what_is_run_here() -> None:
    strange = [line for line in printed(RUN) if not line.startswith((INSTALLER, COMMAND))]
    assert strange == []
    assert f"{INSTALLER} demo" in printed(RUN)
    assert f"{INSTALLER} test" in printed(PAGES)


@pytest.mark.parametrize("line", [line for line in printed(PAGES) if line.startswith(INSTALLER)])
def test_the_installer_understands_each_printed_command(line: str) -> None:
    options = commands._parser().parse_args(shlex.split(line)[2:])
    assert options.command in commands._RUN


def test_every_printed_command_of_the_server_exists() -> None:
    for line in printed(PAGES):
        words = shlex.split(line)
        if not words[0].endswith("chromabridge"):
            continue
        known = getattr(typer.main.get_command(app), "commands", {})
        assert words[1] in known, f"{line}: no command {words[1]}"
        below = getattr(known[words[1]], "commands", {})
        assert not below or words[2] in below, f"{line}: no command {words[2]}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that looks like the repository to whoever types there."""
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    return tmp_path


@pytest.mark.skipif(os.name != "posix", reason="the printed paths are those of POSIX")
@pytest.mark.parametrize("line", [line for line in printed(RUN) if line.startswith(COMMAND)])
def test_each_printed_command_of_the_server_works(line: str, place: Path, server) -> None:
    words = shlex.split(line)
    if words[1] == "colorize":
        words += ["--frames", "0-3"]  # as printed, but for the first frames
    ended = subprocess.run(
        words, cwd=place, env=server.env, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    if "-o" in words:
        assert (place / words[words.index("-o") + 1]).stat().st_size > 0


def write_clip(path: Path, frames: list[np.ndarray]) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())


@pytest.mark.skipif(os.name != "posix", reason="the double of a venv is a symbolic link")
def test_the_demo_ends_in_results_and_contact_sheets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tests" / "footage" / "tiny"
    folder.mkdir(parents=True)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    ramp = np.linspace(40, 220, 160, dtype=np.uint8)
    color = np.stack([np.broadcast_to(ramp, (96, 160)), np.full((96, 160), 90, np.uint8)] * 2, -1)
    color = np.ascontiguousarray(color[:, :, :3])
    gray = np.repeat(color.mean(-1, keepdims=True).astype(np.uint8), 3, -1)
    write_clip(folder / "tiny.mp4", [color] * 3)
    write_clip(folder / "tiny_bw.mp4", [gray] * 3)
    cv2.imwrite(str(folder / "still.png"), color[:, :, ::-1])
    clip = {
        "clip": "tiny",
        "file": "tiny.mp4",
        "frames": 3,
        "exemplar_first": "still.png",
        "exemplar_first_index": 0,
    }
    (folder / "manifest.json").write_text(json.dumps([clip]))
    monkeypatch.setattr(demo, "CLIPS", ("tiny",))
    out = io.StringIO()
    (sheet,) = demo.run(tmp_path, Path(sys.executable), Machine(), Report("demo", out=out))
    (picture,) = contact_sheet.read_frames(sheet)
    assert picture.shape[1] > 3 * 160
    assert (tmp_path / "demo_out" / "tiny_color.mp4").stat().st_size > 0
    assert (tmp_path / "demo_out" / "tiny_color.chromabridge.json").is_file()
    assert not list((tmp_path / "demo_out" / "home").rglob("server.json"))
    assert str(sheet) in out.getvalue()
