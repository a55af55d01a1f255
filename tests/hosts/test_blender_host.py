"""The add-on in a real Blender, without a GUI, against the real server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
oiio = pytest.importorskip("OpenImageIO")

BLENDER = shutil.which("blender")
ROOT = Path(__file__).parents[2]
FOOTAGE = ROOT / "tests" / "footage" / "demo"

pytestmark = pytest.mark.skipif(
    BLENDER is None, reason="Blender is not installed (Debian: apt-get install blender)"
)


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose `scripts` Blender reads, with the add-on as the installer puts it there."""
    import msgpack

    from install import hosts
    from install.machine import Machine

    folder = tmp_path_factory.mktemp("plugins")
    machine = Machine(home=folder, env={"BLENDER_USER_SCRIPTS": str(folder / "scripts")})
    hosts.install(
        ROOT, folder / "home", machine, msgpack=Path(msgpack.__file__).parent,
        server_command=[], names=["blender"],
    )  # fmt: skip
    return folder


def run_blender(plugins: Path, orders: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Do the orders of in_blender.py; returns what was seen."""
    assert BLENDER is not None
    told, answer = folder / "orders.json", folder / "answers.json"
    told.write_text(json.dumps({"orders": orders, "answer": str(answer)}))
    place = {
        "BLENDER_USER_SCRIPTS": str(plugins / "scripts"),
        "PYTHONWARNINGS": "default",
    }
    script = str(Path(__file__).with_name("in_blender.py"))
    command = [BLENDER, "-b", "--factory-startup", "-noaudio", "--python-exit-code", "3",
               "--addons", "chromabridge", "-P", script, "--", str(told)]  # fmt: skip
    done = subprocess.run(
        command, env={**os.environ, **place}, capture_output=True, text=True, timeout=110,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    answers: list[dict[str, Any]] = json.loads(answer.read_text())
    return answers


@pytest.fixture(scope="module")
def seen(
    plugins: Path, shared_home: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What one Blender saw: an image strip, then the demo movie, trimmed, in Filmic."""
    folder = tmp_path_factory.mktemp("blender")
    stills = [str(clip / f"bw.{i}.png") for i in range(1001, 1009)]
    still = str(clip / "still.png")
    orders = [
        {"size": [106, 60], "image": stills, "start": 21, "first": 21, "last": 28},
        {"size": [854, 480], "movie": str(FOOTAGE / "bunny_bw.mp4"), "start": -5, "first": 3,
         "last": 6},
    ]  # fmt: skip
    for number, order in enumerate(orders):
        order.update(effect="lookup", still=still, shown=str(folder / f"shown{number}.png"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHROMABRIDGE_HOME", str(shared_home))
        return run_blender(plugins, orders, folder)


def pixels(path: str | Path) -> Any:
    found = oiio.ImageInput.open(str(path))
    assert found is not None, path
    try:
        return np.asarray(found.read_image("uint16"))[..., :3].astype(int)
    finally:
        found.close()


def test_the_result_lies_frame_exact_on_the_next_free_channel(seen: list[dict[str, Any]]) -> None:
    for place, (first, last) in enumerate(((21, 28), (3, 6))):
        one = seen[place]
        result = one["result"]
        assert (result["first"], result["last"]) == (first, last)
        assert result["channel"] == 4  # 3 is taken by a title
        assert len(result["files"]) == last - first + 1
        assert (one["preview"]["first"], one["preview"]["last"]) == (first, first)


def test_nothing_of_the_users_is_touched(seen: list[dict[str, Any]]) -> None:
    for one in seen:
        assert one["untouched"]
        assert one["view"] == "Filmic"
        assert one["scenes"] == 1
        assert one["strips"] == ["bw", "bw (color)", "title"]
    assert [one["playhead"] for one in seen] == [21, 3]


def test_the_panel_is_the_descriptors(seen: list[dict[str, Any]], shared_home: Path) -> None:
    from host_plugins.client import connect

    with connect(start=False, file=shared_home / "run" / "server.json") as server:
        params = server.describe("lookup")["params"]
    assert seen[0]["values"] == sorted(param["name"] for param in params)


def test_exemplars_count_from_the_strips_start(seen: list[dict[str, Any]]) -> None:
    assert [pin["frame"] for pin in json.loads(seen[0]["pins"])] == [0]
    assert [pin["frame"] for pin in json.loads(seen[1]["pins"])] == [8]
    assert [pin["frame"] for pin in json.loads(seen[1]["pins after"])] == [8, 11]


def test_a_movies_plates_are_its_frames_as_decoded(seen: list[dict[str, Any]]) -> None:
    import av

    with av.open(str(FOOTAGE / "bunny_bw.mp4")) as movie:
        frames = [frame.to_ndarray(format="rgb24") for frame in movie.decode(video=0)]
    folder = Path(seen[1]["result"]["files"][0]).parent
    for frame in range(3, 7):
        assert np.array_equal(pixels(folder / f"plate.{frame:06d}.png") // 257, frames[frame + 5])


def test_blender_and_the_command_line_give_the_same_pixels(
    seen: list[dict[str, Any]], clip: Path, tmp_path: Path, real_server: Path, headless: Any
) -> None:
    files = seen[1]["result"]["files"]
    out = tmp_path / "out.######.png"
    headless(
        real_server, str(Path(files[0]).parent / "plate.######.png"), f"3={clip / 'still.png'}",
        str(out), "--effect", "lookup", "--frames", "3-6",
    )  # fmt: skip
    for number, file in enumerate(files):
        theirs = pixels(str(out).replace("######", f"{3 + number:06d}"))
        assert np.array_equal(pixels(file), theirs)
        assert np.ptp(theirs, axis=-1).max() > 3000  # there is color


def test_the_sequencer_shows_the_results_codes(seen: list[dict[str, Any]]) -> None:
    for one in seen:
        shown, result = pixels(one["shown"]), pixels(one["result"]["files"][-1])
        assert np.abs(shown - result).max() <= 257  # one 8-bit code
