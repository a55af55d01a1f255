"""A movie whose making is killed, cancelled or starved goes on, and ends in the same bytes."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from bridge_server.cli import app
from bridge_server.headless import journal as journal_module
from bridge_server.headless.job import ColorizeJob
from bridge_server.headless.journal import Journal, journal_path
from bridge_server.headless.runner import Runner
from host_plugins.client import BridgeError

FRAMES = 72
STILL = Path(__file__).parents[1] / "footage" / "demo" / "bunny_exemplar.jpg"


@pytest.fixture(scope="module")
def plate(tmp_path_factory) -> Path:
    """A grainy gray movie, 160x90."""
    path = tmp_path_factory.mktemp("plate") / "plate.mkv"
    ramp = np.linspace(20, 220, 160)[None].repeat(90, 0)
    with av.open(str(path), "w") as movie:
        stream = movie.add_stream("ffv1", 24)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "gray"
        for k in range(FRAMES):
            grain = np.random.default_rng(k).normal(0, 4, ramp.shape)
            picture = (np.roll(ramp, 3 * k, 1) + grain).clip(0, 255).astype(np.uint8)
            movie.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "gray")))
        movie.mux(stream.encode(None))
    return path


def words(plate: Path, out: Path, *more: str) -> list[str]:
    told = ["colorize", str(plate), "-e", str(STILL), "-o", str(out), "--effect", "lookup"]
    return [*told, "-p", "working_size=64", "--cuts", "30", *more]


def job(plate: Path, out: Path) -> ColorizeJob:
    exemplars = ((None, STILL),)
    return ColorizeJob(plate, out, "lookup", exemplars, {"working_size": 64}, cuts=frozenset([30]))


def run(*told: str) -> str:
    done = CliRunner().invoke(app, list(told))
    assert done.exit_code == 0, done.output
    return done.stdout


def failed(code: str, *told: str) -> None:
    done = CliRunner().invoke(app, list(told))
    assert f"error {code}:" in done.stderr, done.output


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(".*"))


def cancelled(server, plate: Path, out: Path, after: int) -> Runner:
    with server.client() as connected:
        runner = Runner(job(plate, out), connected)
        runner._on_progress = lambda done: runner.cancel() if done.done == after else None
        assert runner.run().status == "cancelled"
    return runner


@pytest.fixture
def home(server, monkeypatch):
    monkeypatch.setenv("CHROMABRIDGE_HOME", str(server.home))
    return server


def test_a_movie_killed_at_any_process_ends_in_the_bytes_of_an_unbroken_run(
    own_server, plate, tmp_path, monkeypatch
):
    """Worker, front and, twice, client are killed, at points drawn from a fixed seed."""
    server = own_server()
    server.env["CHROMABRIDGE_SNAPSHOT_FRAMES"] = "5"
    server.close()
    server.start()
    monkeypatch.setenv("CHROMABRIDGE_HOME", str(server.home))
    whole = tmp_path / "whole.mp4"
    run(*words(plate, whole, "--codec", "h264"))
    assert hidden(tmp_path) == []
    out = tmp_path / "broken" / "movie.mp4"
    kept = journal_path(out)
    chance = random.Random(20261123)
    command = str(Path(sys.executable).with_name("chromabridge"))
    # a frame takes about so much of the journal
    each = 90 * 80 * 0.7

    def begin() -> subprocess.Popen[bytes]:
        told = [command, *words(plate, out, "--codec", "h264")]
        return subprocess.Popen(told, env=server.env, stdout=-3, stderr=-3)

    def after(frames: float, client: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 60
        while not kept.exists() or kept.stat().st_size < frames * each:
            assert client.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)

    client = begin()
    after(chance.uniform(1, 8), client)
    os.kill(server.worker_pid(), signal.SIGKILL)
    after(chance.uniform(10, 14), client)
    server.process.kill()
    server.process.wait()
    server.start()
    after(chance.uniform(16, 22), client)
    client.kill()
    client.wait()
    assert not out.exists()
    torn = kept.stat().st_size - chance.randint(1, 40)
    os.truncate(kept, torn)
    client = begin()
    time.sleep(chance.uniform(1.0, 2.5))  # while it starts, or in the middle of anything
    client.kill()
    client.wait()
    assert kept.exists()
    assert "frames unchanged since an earlier run" in run(*words(plate, out, "--codec", "h264"))
    assert digest(out) == digest(whole)
    assert hidden(out.parent) == []


@pytest.mark.parametrize("ending", ["mov", "mkv", "mxf"])
def test_a_cancelled_movie_goes_on_by_the_same_command(home, plate, tmp_path, ending):
    whole, out = tmp_path / f"whole.{ending}", tmp_path / f"movie.{ending}"
    size = ("--codec", "ffv1") if ending == "mkv" else ("--codec", "prores_422_hq")
    run(*words(plate, whole, *size))
    with home.client() as connected:
        from dataclasses import replace

        from bridge_server.media import Deliver

        asked = replace(job(plate, out), deliver=Deliver(codec=size[1]))
        runner = Runner(asked, connected)
        runner._on_progress = lambda done: runner.cancel() if done.done == 9 else None
        record = runner.run()
    assert record.status == "cancelled"
    assert Path(record.journal) == journal_path(out)
    with av.open(str(out)) as movie:
        assert 9 <= sum(1 for _ in movie.decode(video=0)) < FRAMES
    assert f"{FRAMES} frames" not in run(*words(plate, out, *size)).split(" of ")[0]
    assert digest(out) == digest(whole)
    assert hidden(tmp_path) == []


def test_a_journal_of_other_parameters_is_not_used(home, plate, tmp_path):
    whole, out = tmp_path / "whole.mkv", tmp_path / "movie.mkv"
    cancelled(home, plate, out, 9)
    kept, unfinished = digest(journal_path(out)), digest(out)
    failed("output_exists", *words(plate, out, "-p", "saturation=0.5"))
    assert (digest(journal_path(out)), digest(out)) == (kept, unfinished)
    run(*words(plate, whole, "-p", "saturation=0.5"))
    said = run(*words(plate, out, "-p", "saturation=0.5", "--overwrite"))
    assert "unchanged" not in said
    assert digest(out) == digest(whole)


def test_a_movie_of_somebody_else_is_not_replaced(home, plate, tmp_path):
    out = tmp_path / "movie.mkv"
    cancelled(home, plate, out, 5)
    out.write_bytes(b"mine")
    failed("output_exists", *words(plate, out))
    assert out.read_bytes() == b"mine"


def test_a_kill_between_the_name_and_the_end_of_the_journal_loses_nothing(
    home, plate, tmp_path, monkeypatch
):
    whole, out = tmp_path / "whole.mkv", tmp_path / "movie.mkv"
    run(*words(plate, whole))
    with monkeypatch.context() as killed:
        killed.setattr(Journal, "remove", lambda self: None)
        run(*words(plate, out))
    assert journal_path(out).exists()
    assert f"{FRAMES} frames unchanged" in run(*words(plate, out))
    assert digest(out) == digest(whole)
    assert sorted(p.name for p in tmp_path.glob(".*")) == []


def test_a_full_disk_costs_the_journal_and_not_the_movie(home, plate, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole.mkv", tmp_path / "movie.mkv"
    run(*words(plate, whole))
    monkeypatch.setattr(journal_module, "LEAST_FREE_BYTES", 1 << 62)
    done = CliRunner().invoke(app, words(plate, out))
    assert done.exit_code == 0
    assert "begins this movie anew" in done.stderr
    assert digest(out) == digest(whole)
    assert hidden(tmp_path) == []


def test_two_runs_do_not_make_one_movie(home, plate, tmp_path):
    other = Journal(tmp_path / "movie.mkv")
    with home.client() as connected, pytest.raises(BridgeError, match="another run"):
        Runner(job(plate, tmp_path / "movie.mkv"), connected).run()
    other.close()
    assert not list(tmp_path.iterdir())
