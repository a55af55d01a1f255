"""The commands as a user types them, through a real server, on real pictures."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import OpenImageIO as oiio
import pytest
from typer.testing import CliRunner

from bridge_server.cli import app

DEMO = Path(__file__).parents[1] / "footage" / "demo"


def write_image(path: Path, pixels: np.ndarray) -> Path:
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    out = oiio.ImageOutput.create(str(path))
    assert out is not None
    spec = oiio.ImageSpec(width, height, channels, str(pixels.dtype))
    assert out.open(str(path), spec), out.geterror()
    assert out.write_image(pixels.reshape(height, width, channels)), out.geterror()
    out.close()
    return path


def read_image(path: Path) -> np.ndarray:
    return oiio.ImageBuf(str(path)).get_pixels(oiio.FLOAT)


@pytest.fixture(scope="module")
def sequence(tmp_path_factory) -> Path:
    """Eight gray half-float EXR frames with values over 1 and below 0, from 1001."""
    folder = tmp_path_factory.mktemp("plate")
    for k in range(8):
        ramp = np.linspace(-0.05, 1.5, 64, dtype=np.float32)[None].repeat(36, 0)
        gray = np.roll(ramp, 3 * k, 1).astype(np.float16)
        write_image(folder / f"plate.{1001 + k}.exr", np.stack([gray] * 3, -1))
    return folder / "plate.####.exr"


@pytest.fixture(scope="module")
def exemplar(tmp_path_factory) -> Path:
    rgb = np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return write_image(tmp_path_factory.mktemp("still") / "still.png", rgb)


class InProcess:
    """Runs a command inside the tests' process, which spares the start of an interpreter."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CHROMABRIDGE_HOME", str(home))
        self._runner = CliRunner()

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        told = self._runner.invoke(app, list(words))
        assert told.exception is None or isinstance(told.exception, SystemExit), told.exception
        return subprocess.CompletedProcess(words, told.exit_code, told.stdout, told.stderr)


@pytest.fixture
def here(server, monkeypatch) -> InProcess:
    return InProcess(server.home, monkeypatch)


def fine(told: subprocess.CompletedProcess[str]) -> str:
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def failed(told: subprocess.CompletedProcess[str], code: str, exit_code: int) -> None:
    assert told.returncode == exit_code, told.stdout + told.stderr
    assert f"error {code}:" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_sequence_keeps_its_luma_numbers_and_range(server, sequence, exemplar, tmp_path):
    out = tmp_path / "out" / "color.####.exr"
    words = ("colorize", str(sequence), "-e", f"1003={exemplar}", "-o", str(out))
    told = fine(server.command(*words, "--effect", "lookup", "--cuts", "1005"))
    assert "8 of 8 frames" in told
    files = sorted(out.parent.glob("*.exr"))
    assert [path.name for path in files] == [f"color.{n}.exr" for n in range(1001, 1009)]
    for path in files:
        before = read_image(sequence.with_name(path.name.replace("color", "plate")))
        after = read_image(path)
        weights = np.array([0.2126, 0.7152, 0.0722])
        np.testing.assert_allclose(after @ weights, before @ weights, rtol=2e-3, atol=2e-3)
        assert np.abs(after - before).max() > 0.01
    record = json.loads((out.parent / "color.chromabridge.json").read_text())
    assert record["status"] == "done"
    assert record["frames_done"] == record["frames_asked"] == 8
    assert record["exemplars"][0]["frame"] == 1003
    assert record["effective"]["saturation"] == 1.0
    assert record["made_by"]["network"] == "lookup"
    assert set(record["times_s"]) >= {"load", "decode", "network", "join", "encode", "wall"}


def test_a_movie_comes_back_as_a_movie_of_the_same_frames(here, tmp_path):
    out = tmp_path / "color.mkv"
    words = ("colorize", str(DEMO / "bunny_bw.mp4"), "-e", str(DEMO / "bunny_exemplar.jpg"))
    fine(
        here.command(
            *words, "-o", str(out), "--effect", "lookup", "--codec", "ffv1", "--frames", "0-5"
        )
    )
    with av.open(str(out)) as movie, av.open(str(DEMO / "bunny_bw.mp4")) as plate:
        stream = movie.streams.video[0]
        assert (stream.width, stream.height) == (854, 480)
        assert stream.average_rate == plate.streams.video[0].average_rate
        pairs = list(zip(movie.decode(video=0), plate.decode(video=0), strict=False))
        assert len(pairs) == 6
        for after, before in pairs:
            luma = [
                np.frombuffer(f.planes[0], np.uint8).reshape(-1, f.planes[0].line_size)[:480, :854]
                for f in (after, before)
            ]
            np.testing.assert_array_equal(luma[0], luma[1])


def test_one_still_is_colored(here, sequence, exemplar, tmp_path):
    plate = sequence.with_name("plate.1001.exr")
    out = tmp_path / "still.exr"
    words = ("still", str(plate), "-e", str(exemplar), "-o", str(out), "--effect", "lookup")
    fine(here.command(*words, "-p", "saturation=2", "-p", "gamut=none"))
    assert out.exists()
    failed(here.command(*words), "output_exists", 4)
    fine(here.command(*words, "--overwrite"))


@pytest.mark.parametrize(
    ("change", "code", "exit_code"),
    [
        ({"clip": "missing.####.exr"}, "clip_unreadable", 4),
        ({"clip": "missing.mov"}, "clip_unreadable", 4),
        ({"exemplar": "missing.png"}, "clip_unreadable", 4),
        ({"exemplar": "notes.txt"}, "bad_exemplar", 4),
        ({"output": "blocked/out.####.exr"}, "output_not_writable", 4),
        ({"output": "out.xyz"}, "unsupported_format", 4),
        ({"more": ("--effect", "sepia")}, "unknown_effect", 2),
        ({"more": ("-p", "glow=1")}, "unknown_param", 2),
        ({"more": ("-p", "saturation=lots")}, "bad_param", 2),
        ({"more": ("-p", "saturation=99")}, "bad_param", 2),
        ({"more": ("--frames", "2001-2010")}, "frame_missing", 4),
        ({"more": ("--cuts", "now")}, "bad_param", 2),
    ],
)
def test_bad_input_has_a_code_an_exit_code_and_no_traceback(
    here, sequence, exemplar, tmp_path, change, code, exit_code
):
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "blocked").write_text("a file where a folder should be")
    clip = tmp_path / change["clip"] if "clip" in change else sequence
    still = tmp_path / change["exemplar"] if "exemplar" in change else exemplar
    out = tmp_path / change.get("output", "out/out.####.exr")
    words = ["colorize", str(clip), "-e", str(still), "-o", str(out), "--effect", "lookup"]
    told = here.command(*words, *change.get("more", ()))
    if change.get("exemplar") == "notes.txt":
        assert told.returncode == 4, told.stderr
        assert "Traceback" not in told.stderr
    else:
        failed(told, code, exit_code)
    assert not list(tmp_path.rglob("*.part"))
    assert not list((tmp_path / "out").glob("*.exr")) if (tmp_path / "out").exists() else True


def test_interrupting_keeps_finished_frames_and_says_so(server, exemplar, tmp_path):
    folder = tmp_path / "long"
    folder.mkdir()
    gray = np.random.default_rng(0).integers(0, 255, (540, 960), dtype=np.uint8)
    first = write_image(tmp_path / "first.png", np.stack([gray] * 3, -1))
    for k in range(200):
        (folder / f"p.{k:04d}.png").hardlink_to(first)
    out = tmp_path / "out" / "c.####.png"
    command = [str(Path(sys.executable).with_name("chromabridge")), "colorize"]
    command += [str(folder / "p.####.png"), "-e", str(exemplar), "-o", str(out)]
    process = subprocess.Popen(
        [*command, "--effect", "lookup"],
        env=server.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while len(list(out.parent.glob("*.png"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    done = sorted(out.parent.glob("c.*.png"))
    assert 3 <= len(done) < 200
    for path in done:
        assert read_image(path).shape == (540, 960, 3)
    record = json.loads((out.parent / "c.chromabridge.json").read_text())
    assert record["status"] == "cancelled"
    assert record["frames_done"] == len(done)
    assert f"{len(done)} of 200 frames" in stdout


def test_a_command_starts_a_server_when_none_runs(tmp_path, sequence, exemplar):
    env = {**os.environ, "CHROMABRIDGE_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    command = str(Path(sys.executable).with_name("chromabridge"))
    plate, out = sequence.with_name("plate.1001.exr"), tmp_path / "o.exr"
    words = [command, "still", str(plate), "-e", str(exemplar), "-o", str(out)]
    words += ["--effect", "lookup"]
    try:
        told = subprocess.run(words, env=env, capture_output=True, text=True, timeout=90)
        assert told.returncode == 0, told.stderr
        file = tmp_path / "home" / "run" / "server.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    finally:
        subprocess.run([command, "stop"], env=env, capture_output=True, timeout=30)


def test_effects_are_listed_as_text_and_json(here):
    text = fine(here.command("effects"))
    assert "starter" in text
    assert "lookup" not in text
    listed = json.loads(fine(here.command("effects", "--json")))
    names = {effect["id"] for effect in listed}
    assert names == {"colormnet", "deep_exemplar", "starter"}
    assert all(effect["sequential_render"] == "required" for effect in listed)


def test_status_is_told_as_text_and_json(here):
    assert "worker" in fine(here.command("status"))
    assert json.loads(fine(here.command("status", "--json")))["state"] == "running"


def sums(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("[!.]*.exr")}


def test_a_second_run_makes_only_what_changed_and_says_so(here, sequence, exemplar, tmp_path):
    out = tmp_path / "out" / "c.####.exr"
    words = ["colorize", str(sequence), "-e", str(exemplar), "-o", str(out), "--effect", "lookup"]
    fine(here.command(*words))
    first = sums(out.parent)
    times = {p.name: p.stat().st_mtime_ns for p in out.parent.glob("*.exr")}
    assert "8 frames unchanged" in fine(here.command(*words))
    assert times == {p.name: p.stat().st_mtime_ns for p in out.parent.glob("*.exr")}
    (out.parent / "c.1004.exr").unlink()
    (out.parent / "c.1006.exr").write_bytes(b"cut off")
    told = fine(here.command(*words))
    assert "6 frames unchanged" in told
    assert "2 of 8 frames" in told
    assert sums(out.parent) == first
    fine(here.command(*words, "-p", "saturation=0.5"))
    assert not set(sums(out.parent).values()) & set(first.values())


def test_files_of_somebody_else_are_not_overwritten(here, sequence, exemplar, tmp_path):
    out = tmp_path / "c.####.exr"
    (tmp_path / "c.1003.exr").write_bytes(b"mine")
    words = ["colorize", str(sequence), "-e", str(exemplar), "-o", str(out), "--effect", "lookup"]
    failed(here.command(*words), "output_exists", 4)
    assert (tmp_path / "c.1003.exr").read_bytes() == b"mine"
    assert len(list(tmp_path.glob("*.exr"))) == 1
    fine(here.command(*words, "--overwrite"))
    assert len(list(tmp_path.glob("*.exr"))) == 8


def test_a_job_killed_at_any_process_ends_in_the_bytes_of_an_unbroken_run(
    own_server, sequence, exemplar, tmp_path
):
    """Worker, front and client are killed in turn, each at a point drawn from a fixed seed."""
    folder = tmp_path / "plate"
    folder.mkdir()
    for k in range(96):
        source = sequence.with_name(f"plate.{1001 + k % 8}.exr")
        (folder / f"p.{1001 + k}.exr").hardlink_to(source)
    server = own_server()
    server.env["CHROMABRIDGE_SNAPSHOT_FRAMES"] = "5"
    server.close()
    server.start()
    plate = str(folder / "p.####.exr")

    def words(out: Path) -> list[str]:
        command = [str(Path(sys.executable).with_name("chromabridge")), "colorize", plate]
        command += ["-e", str(exemplar), "-o", str(out / "c.####.exr"), "--effect", "lookup"]
        return [*command, "-p", "working_size=64", "--cuts", "1013"]

    def run(out: Path) -> int:
        return subprocess.run(words(out), env=server.env, capture_output=True).returncode

    assert run(tmp_path / "whole") == 0
    broken = tmp_path / "broken"
    chance = random.Random(20261122)
    client = subprocess.Popen(words(broken), env=server.env, stderr=subprocess.DEVNULL)

    def after(frames: int) -> None:
        deadline = time.monotonic() + 90
        while len(sums(broken)) < frames and client.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    after(chance.randint(2, 6))
    os.kill(server.worker_pid(), signal.SIGKILL)
    after(chance.randint(8, 11))
    server.process.kill()
    server.process.wait()
    server.start()
    after(chance.randint(14, 18))
    client.kill()
    client.wait()
    assert len(sums(broken)) < 96
    assert run(broken) == 0
    assert sums(broken) == sums(tmp_path / "whole")
    assert not list(broken.glob(".*part*"))


def test_a_file_whose_record_a_kill_cut_off_is_made_again(here, sequence, exemplar, tmp_path):
    """Killed between the file's final name and its line in the index."""
    out = tmp_path / "c.####.exr"
    words = ["colorize", str(sequence), "-e", str(exemplar), "-o", str(out), "--effect", "lookup"]
    fine(here.command(*words))
    first = sums(tmp_path)
    index = tmp_path / ".chromabridge-index.jsonl"
    index.write_text("\n".join(index.read_text().splitlines()[:-1]) + "\n")
    assert "7 frames unchanged" in fine(here.command(*words))
    assert sums(tmp_path) == first
