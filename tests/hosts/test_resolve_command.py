"""`chromabridge resolve ...`, alone and with the real server behind it."""

from __future__ import annotations

import json
import sys
import types

import pytest

pytest.importorskip("OpenImageIO")
pytest.importorskip("av")
pytest.importorskip("typer")  # the server's Python, not a host's
pytest.importorskip("torch")

import numpy as np
import opentimelineio
import resolve_scene
from fake_resolve import add_clip
from fake_resolve_base import Rules
from fake_resolve_media import Media, read_picture
from resolve_scene import (
    START,
    FakeService,
    driven,
    exemplar,
    footage,
    frame_of,
    host_of,
    placed,
    run,
    scene,
    started,
)
from typer.testing import CliRunner

from bridge_server.cli import resolve as command
from bridge_server.cli.resolve_media import pack_movie, unpack_movie
from host_plugins.host_layer import Service, Settings
from host_plugins.resolve_host import colorize, source_file
from host_plugins.resolve_host.options import load_preset
from host_plugins.resolve_host.tiff_plate import PlateTiff

honest = resolve_scene.honest
WEIGHTS = np.array([0.2126, 0.7152, 0.0722])
#: the command as it is when the group is mounted
MOUNTED = [
    sys.executable,
    "-c",
    "import typer; from bridge_server.cli.resolve import app; main = typer.Typer();"
    " main.add_typer(app, name='resolve'); main()",
]


@pytest.fixture
def made(tmp_path, monkeypatch):
    """(resolve, timeline, a function that runs a command)."""
    resolve, timeline = scene()
    service = FakeService(tmp_path)
    monkeypatch.setattr(command, "open_host", lambda: host_of(resolve))
    monkeypatch.setattr(command, "_service", lambda host: service)

    def invoke(*words):
        return CliRunner().invoke(command.app, [str(word) for word in words])

    return resolve, timeline, invoke


def test_list_tells_clips_exemplars_and_results(made, tmp_path):
    _, _, invoke = made
    invoke("colorize", "--clips", "playhead", "-e", f"6={exemplar(tmp_path)}")
    told = json.loads(invoke("list", "--json").stdout)
    assert told["resolve"] == "DaVinci Resolve Studio 21.0.4"
    assert [(c["timecode"], c["frames"], c["source"], c["result"]) for c in told["clips"]] == [
        ("01:00:00:10", 12, "4-15", "yes"), ("01:00:01:06", 8, "0-7", "")]  # fmt: skip
    shown = invoke("list")
    assert shown.exit_code == 0
    assert "everything works" in shown.stdout


def test_list_connects_from_outside(monkeypatch):
    resolve, _ = scene()
    module = types.SimpleNamespace(scriptapp=lambda name: resolve if name == "Resolve" else None)
    monkeypatch.setitem(sys.modules, "DaVinciResolveScript", module)
    monkeypatch.setattr(sys, "path", list(sys.path))
    done = CliRunner().invoke(command.app, ["list", "--json"])
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["clips"]) == 2


def test_without_resolve_the_command_says_what_to_do(monkeypatch):
    module = types.SimpleNamespace(scriptapp=lambda name: None)
    monkeypatch.setitem(sys.modules, "DaVinciResolveScript", module)
    monkeypatch.setattr(sys, "path", list(sys.path))
    done = CliRunner().invoke(command.app, ["list"])
    assert done.exit_code == 3
    assert "External scripting" in done.output
    assert "Traceback" not in done.output


def test_colorize_tells_outcomes_and_exit_codes(made, tmp_path):
    _, timeline, invoke = made
    good = invoke("colorize", "--clips", "track:1", "-e", exemplar(tmp_path), "--folder",
                  tmp_path / "out")  # fmt: skip
    assert good.exit_code == 0, good.output
    assert good.stdout.count("placed") == 2
    assert placed(timeline, 2) == [(10, 0, 12), (30, 0, 8)]
    assert list((tmp_path / "out").rglob("*.tif"))
    again = invoke("colorize", "--clips", "track:1", "-e", exemplar(tmp_path), "--folder",
                   tmp_path / "out")  # fmt: skip
    assert again.stdout.count("unchanged") == 2
    assert invoke("colorize", "--clips", "playhead").exit_code == 1  # no exemplar
    assert invoke("colorize", "--clips", "everything").exit_code == 2
    assert invoke("colorize", "--place", "take", "-e", exemplar(tmp_path)).exit_code == 2


def test_preview_writes_before_and_after(made, tmp_path):
    _, _, invoke = made
    done = invoke("preview", "-e", exemplar(tmp_path), "--out", tmp_path / "p")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "p").glob("*.png")) == [
        "after.000006.png", "before.000006.png"]  # fmt: skip


def test_an_exemplar_is_pinned_by_command(made, tmp_path):
    _, timeline, invoke = made
    assert invoke("exemplar", exemplar(tmp_path)).exit_code == 0
    done = invoke("exemplar", "--how", "still")
    assert done.exit_code == 0, done.output
    assert "frame 6" in done.stdout
    assert len(timeline.tracks[0]["items"][0].markers) == 1  # the second took the first's place
    assert invoke("exemplar").exit_code != 0
    assert invoke("exemplar", "--how", "gallery").exit_code == 1


def test_clean_and_selftest_say_what_they_did(made, tmp_path, monkeypatch):
    monkeypatch.setattr("host_plugins.resolve_host.sample_clip.HEIGHT", 190)
    monkeypatch.setattr("host_plugins.resolve_host.sample_clip.WIDTH", 400)
    _, timeline, invoke = made
    invoke("colorize", "-e", exemplar(tmp_path))
    done = invoke("clean", "--results")
    assert "1 results" in done.stdout
    assert len(timeline.tracks) == 1
    done = invoke("selftest", "--out", tmp_path / "self")
    assert done.exit_code == 0, done.output
    assert "FAILED" not in done.stdout
    assert "Report:" in done.stdout


def test_a_preset_is_saved_without_resolve(tmp_path):
    done = CliRunner().invoke(command.app, ["preset", "default", "--clips", "color:Teal", "-e",
                                            f"12={tmp_path / 'a.png'}"])  # fmt: skip
    assert done.exit_code == 0, done.output
    kept = load_preset()
    assert kept.clips == "color:Teal"
    assert (kept.exemplars[0].frame, kept.exemplars[0].path) == (12, str(tmp_path / "a.png"))


# --- with the real server ---


@pytest.fixture
def service(real_server, tmp_path, monkeypatch):
    monkeypatch.setattr(source_file, "server_command", lambda: MOUNTED)
    monkeypatch.setattr(colorize, "server_command", lambda: MOUNTED)
    found = Service(Settings(cache=str(tmp_path / "cache")), name="resolve", version="21.0.4")
    yield found
    found.close()


def colored(timeline, at):
    """(picture of the clip, picture of the result) at a frame."""
    below = next(i for i in timeline.tracks[0]["items"] if i.start <= START + at < i.end)
    return below.picture(START + at), timeline.top_item(START + at).picture(START + at)


@pytest.mark.parametrize("inclusive", [False, True])
def test_clips_are_colored_by_the_real_server_frame_for_frame(service, tmp_path, inclusive):
    resolve, timeline = scene(Rules(end_inclusive=inclusive))
    made = run(host_of(resolve), service, tmp_path, effect="lookup")
    assert [outcome.what for outcome in made.outcomes] == ["placed", "placed"]
    for at in (*range(10, 22), *range(30, 38)):
        before, after = colored(timeline, at)
        assert frame_of(before) == frame_of(after)
        assert np.abs((before - after) @ WEIGHTS).max() <= 1 / 65535  # one 16-bit rounding step
        assert np.abs(after[..., 0] - after[..., 2]).mean() > 0.02
    path = tmp_path / "reel.otio"
    timeline.Export(str(path), resolve.EXPORT_OTIO, resolve.EXPORT_NONE)
    tracks = opentimelineio.adapters.read_from_file(str(path)).tracks
    spans = [[(c.range_in_parent().start_time.value, c.source_range.duration.value)
              for c in track.find_clips()] for track in tracks]  # fmt: skip
    assert spans[0] == spans[1] == [(10, 12), (30, 8)]
    record = json.loads(next((tmp_path / "results").rglob("*.record.json")).read_text())
    assert record["host"]["plate"] == "graded"
    assert record["outcome"] == "done"
    again = run(host_of(resolve), service, tmp_path, effect="lookup")
    assert [outcome.what for outcome in again.outcomes] == ["unchanged", "unchanged"]


def test_a_cancelled_run_ends_in_the_same_pixels_as_an_unbroken_one(service, tmp_path):
    resolve, timeline = scene()
    host = host_of(resolve)
    whole = run(host, service, tmp_path, effect="lookup", clips="playhead")
    expected = pixels(whole)
    other = Service(Settings(cache=str(tmp_path / "cache2")), name="resolve", version="")
    resolve, timeline = scene()
    host = host_of(resolve)
    options = {"effect": "lookup", "clips": "playhead"}
    steps = started(host, other, tmp_path / "other", **options).steps()
    for step in steps:
        if step.stage == "color" and step.done >= 1:
            break
        if step.pause_s:
            host.calls.sleep(step.pause_s)
    steps.close()
    assert len(timeline.tracks) == 1
    assert pixels(run(host, other, tmp_path / "other", **options)) == expected
    other.close()


def pixels(made):
    """Everything but the date of writing."""
    folder = made.outcomes[0].report.parent
    return [PlateTiff(0, path).digest() for path in sorted(folder.glob("*.tif"))]


def test_a_half_float_plate_is_not_taken_for_linear(service, tmp_path):
    resolve, timeline = scene()
    run(host_of(resolve), service, tmp_path, effect="lookup", clips="playhead",
        plate_format="exr")  # fmt: skip
    before, after = colored(timeline, 12)
    assert np.abs((before - after) @ WEIGHTS).max() < 1e-3  # half float
    tiff_scene, tiff_timeline = scene()
    run(host_of(tiff_scene), service, tmp_path, effect="lookup", clips="playhead")
    assert np.abs(after - colored(tiff_timeline, 12)[1]).max() < 0.02


def test_a_movie_is_read_by_itself_and_comes_back_as_a_movie(service, tmp_path):
    resolve, timeline = scene()
    made = run(host_of(resolve), service, tmp_path, effect="lookup", clips="playhead",
               plate="file", result="movie")  # fmt: skip
    assert [o.what for o in made.outcomes] == ["placed"], made.outcomes
    assert resolve.world.calls["Project", "AddRenderJob"] == 0
    item = timeline.tracks[1]["items"][0]
    assert item.clip.path.endswith(".mov")
    assert placed(timeline, 2) == [(10, 0, 12)]
    shown = [item.picture(START + 10 + k, graded=False) for k in range(12)]
    assert [frame_of(picture) for picture in shown] == list(range(4, 16))


def test_a_movie_that_cannot_be_unpacked_is_told_with_the_commands_reason(service, tmp_path):
    resolve, timeline = scene()
    timeline.tracks[0]["items"][0].__dict__["left"] = 18  # twelve frames from 18 of 24
    made = run(host_of(resolve), service, tmp_path, effect="lookup", clips="playhead",
               plate="file")  # fmt: skip
    assert [o.what for o in made.outcomes] == ["failed"]
    assert "expected frames 18 to 29" in made.outcomes[0].text
    assert not list((tmp_path / "cache" / "plates").iterdir())


def test_a_preview_comes_from_the_real_server(made, service, tmp_path, monkeypatch):
    _, _, invoke = made
    monkeypatch.setattr(command, "_service", lambda host: service)
    done = invoke("preview", "--effect", "lookup", "-p", "saturation=0.5", "-e",
                  exemplar(tmp_path), "--out", tmp_path / "p")  # fmt: skip
    assert done.exit_code == 0, done.output
    after = read_picture(tmp_path / "p" / "after.000006.png")
    assert np.abs(after[..., 0] - after[..., 2]).mean() > 0.01
    bad = invoke("preview", "--effect", "lookup", "-p", "volume=11", "-e", exemplar(tmp_path))
    assert bad.exit_code == 2


# --- movies to frames and back ---


def test_unpacked_frames_are_the_frames_asked_for(tmp_path):
    assert unpack_movie(footage(), tmp_path / "f", 5, 9) == 5
    files = sorted((tmp_path / "f").glob("source.*.tif"))
    assert [path.name for path in files] == [f"source.{n:06d}.tif" for n in range(5, 10)]
    assert [frame_of(read_picture(path)) for path in files] == list(range(5, 10))
    media = Media(str(footage()))
    assert np.abs(read_picture(files[0]) - media.frame(5)).max() < 0.02


def test_a_movie_that_ends_early_is_told(tmp_path):
    with pytest.raises(Exception, match="expected frames 20 to 40"):
        unpack_movie(footage(), tmp_path / "f", 20, 40)


def test_a_packed_movie_keeps_frames_and_colors(tmp_path):
    from fractions import Fraction

    import av

    unpack_movie(footage(), tmp_path / "f", 0, 7)
    pattern = str(tmp_path / "f" / "source.%06d.tif")
    path = pack_movie(pattern, tmp_path / "out.mov", 0, 7, Fraction(24000, 1001))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == Fraction(24000, 1001)
        assert stream.codec_context.name == "prores"
    media = Media(str(path))
    assert media.count == 8
    for number in range(8):
        difference = np.abs(
            media.frame(number) - read_picture(tmp_path / "f" / f"source.{number:06d}.tif")
        )
        assert difference.mean() < 0.01
    with pytest.raises(Exception, match="missing"):
        pack_movie(pattern, tmp_path / "bad.mov", 0, 9, Fraction(24))
    assert not (tmp_path / "bad.mov").exists()
    assert not list(tmp_path.glob(".bad*"))


def test_the_whole_timeline_runs_without_windows(service, tmp_path):
    resolve, timeline = scene(Rules(headless=True))
    add_clip(timeline, str(footage()), at=50, left=2, count=5, track=2)
    made = run(host_of(resolve), service, tmp_path, effect="lookup", clips="all")
    assert [outcome.what for outcome in made.outcomes] == ["placed"] * 3
    assert placed(timeline, 3) == [(10, 0, 12), (30, 0, 8), (50, 0, 5)]
    assert driven(host_of(resolve), iter_nothing()) is None


def iter_nothing():
    yield from ()
