"""The test double obeys the rules of the Resolve document, section 8, and its own signatures."""

from __future__ import annotations

import ast
import inspect
import threading
from pathlib import Path

import pytest

pytest.importorskip("OpenImageIO")
pytest.importorskip("av")

import fake_resolve
import fake_resolve_base
import fake_resolve_media_pool
import fake_resolve_timeline
import resolve_scene
from fake_resolve_base import API, Api, BlockedForever, Rules
from resolve_scene import START, scene

HERE = Path(__file__).parent
PLUGIN = HERE.parent.parent / "host_plugins" / "resolve_host"
#: section 6: Fusion's own objects, which are no part of the 418 methods
FUSION = {"AddTool", "FindTool", "SetInput", "GetInput", "ConnectInput", "GetToolList"}
#: methods by which a run calls Resolve, and where the method's name stands
GUARDS = {"ask": 1, "get": 1, "must": 1, "has": 1}


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("CHROMABRIDGE_HOME", str(tmp_path))


def _is_method(text):
    return isinstance(text, str) and text.isidentifier() and text[0].isupper()


def our_calls():
    """(file, line, method name, positional arguments or None) of every guarded call."""
    found = []
    for path in sorted(PLUGIN.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr not in GUARDS or len(node.args) < 2:
                continue
            owner = node.func.value
            if getattr(owner, "attr", getattr(owner, "id", "")) not in ("calls", "self"):
                continue
            name = node.args[1]
            if isinstance(name, ast.Constant) and _is_method(name.value):
                if node.func.attr == "has" or any(isinstance(a, ast.Starred) for a in node.args):
                    count = None
                else:
                    count = len(node.args) - 2
                found.append((path.name, node.lineno, name.value, count))
    return found


def test_the_compact_copy_holds_all_418_methods():
    assert sum(len(methods) for methods in API.values()) == 418


def test_every_call_of_ours_is_documented_with_that_many_arguments():
    calls = our_calls()
    assert len(calls) > 120
    for file, line, name, count in calls:
        if name in FUSION:
            continue
        owners = [methods[name] for methods in API.values() if name in methods]
        assert owners, f"{file}:{line} calls {name}, which is not documented"
        counts = [told[:2] for told in owners if told is not None]
        if count is not None and counts:
            assert any(low <= count <= high for low, high in counts), f"{file}:{line} {name}"


def test_no_call_of_ours_goes_around_the_guard():
    names = {name for methods in API.values() for name in methods}
    for path in sorted(PLUGIN.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                # app.GetResolve in connect.py comes before there is a guard
                assert node.func.attr not in names, f"{path.name}:{node.lineno} {node.func.attr}"


def test_no_call_of_ours_is_one_that_loses_work():
    never = {"FinalizeTake", "ArchiveProject", "Lock", "DeleteAllRenderJobs", "Quit"}
    assert not never & {name for _, _, name, _ in our_calls()}


def test_the_signatures_of_the_double_are_the_documented_ones():
    count = 0
    modules = (fake_resolve, fake_resolve_media_pool, fake_resolve_timeline)
    for module in modules:
        for cls in vars(module).values():
            if not inspect.isclass(cls) or cls.__module__ != module.__name__:
                continue
            for name, method in vars(cls).items():
                if isinstance(method, Api):
                    told = API.get(cls.__name__, {}).get(name, "missing")
                    if name == "DeleteFolders":
                        assert told != "missing"
                        continue
                    assert told not in ("missing", None), f"{cls.__name__}.{name}"
                    assert [method.least, method.most] == told[:2], f"{cls.__name__}.{name}"
                    count += 1
    assert count > 100


def test_any_attribute_exists_and_unknown_ones_cannot_be_called():
    resolve, _ = scene()
    assert hasattr(resolve, "NoSuchMethod")
    assert not callable(resolve.NoSuchMethod)
    assert "OpenPage" in dir(resolve)
    assert "NoSuchMethod" not in dir(resolve)


def test_keywords_are_not_taken():
    resolve, _ = scene()
    assert resolve.OpenPage(pageName="color") is False
    assert resolve.world.offenses
    resolve.world.offenses.clear()


def test_errors_inside_are_answered_with_nothing():
    _, timeline = scene()
    assert timeline.GetTrackName("video", 99) is None


def test_an_empty_track_is_none():
    resolve, timeline = scene()
    timeline.AddTrack("video")
    resolve.OpenPage("media")
    assert timeline.GetItemListInTrack("video", 2) is None


def test_track_counts_are_stale_until_a_page_switch():
    resolve, timeline = scene()
    timeline.AddTrack("video")
    assert timeline.GetTrackCount("video") == 1
    resolve.OpenPage("media")
    assert timeline.GetTrackCount("video") == 2


def test_append_acts_on_the_current_timeline_and_refuses_an_occupied_span():
    resolve, timeline = scene()
    project = resolve.manager.current
    media = timeline.tracks[0]["items"][0].clip
    info = {"mediaPoolItem": media, "startFrame": 0, "endFrame": 4, "trackIndex": 1}
    other = project.new_timeline("Other")
    assert project.pool.AppendToTimeline([{**info, "recordFrame": START + 12}])
    assert len(other.tracks[0]["items"]) == 1
    project.SetCurrentTimeline(timeline)
    assert project.pool.AppendToTimeline([{**info, "recordFrame": START + 12}]) == []


@pytest.mark.parametrize(("inclusive", "count"), [(False, 4), (True, 5)])
def test_the_end_frame_counts_or_does_not(inclusive, count):
    resolve, timeline = scene(Rules(end_inclusive=inclusive))
    media = timeline.tracks[0]["items"][0].clip
    info = {"mediaPoolItem": media, "startFrame": 0, "endFrame": 4, "trackIndex": 1}
    pool = resolve.manager.current.pool
    (item,) = pool.AppendToTimeline([{**info, "recordFrame": START + 100}])
    assert item.GetDuration() == count


def test_codecs_are_taken_by_id_not_by_description():
    resolve, _ = scene()
    project = resolve.manager.current
    assert project.SetCurrentRenderFormatAndCodec("exr", "RGB half") is False
    assert project.SetCurrentRenderFormatAndCodec("exr", "RGBHalf") is True


def test_stills_are_exported_from_an_open_gallery_only(tmp_path):
    for rules, expected in (
        (Rules(), False),
        (Rules(gallery_open=True), True),
        (Rules(gallery_open=True, headless=True), False),
    ):
        resolve, timeline = scene(rules)
        still = timeline.GrabStill()
        album = resolve.manager.current.gallery.album
        assert album.ExportStills([still], str(tmp_path), "still", "tif") is expected


def test_a_render_lags_at_100_and_inherits_settings(tmp_path):
    resolve, _ = scene()
    project = resolve.manager.current
    resolve.OpenPage("deliver")
    project.LoadRenderPreset("H.264 Master")
    project.SetCurrentRenderFormatAndCodec("tif", "RGB16")
    project.SetRenderSettings({"TargetDir": str(tmp_path), "CustomName": "x."})
    project.SetRenderSettings(
        {"SelectAllFrames": False, "MarkIn": START + 10, "MarkOut": START + 12}
    )
    job = project.AddRenderJob()
    project.StartRendering([job], False)
    states = []
    while project.IsRenderingInProgress():
        status = project.GetRenderJobStatus(job)
        states.append((status["JobStatus"], status["CompletionPercentage"]))
    assert states.count(("Rendering", 100)) == resolve.world.rules.lag_polls
    assert states[-1] == ("Complete", 100)
    assert len(list(tmp_path.glob("x.*.tif"))) == 3


def test_the_never_saved_project_blocks_a_headless_save():
    resolve = fake_resolve.Resolve(fake_resolve_base.World(rules=Rules(headless=True)))
    with pytest.raises(BlockedForever):
        resolve.manager.SaveProject()


def test_a_studio_call_on_the_free_edition_blocks_later_calls():
    resolve, timeline = scene(Rules(studio=False))
    item = timeline.tracks[0]["items"][0]
    assert item.GetName()
    resolve.world.modal = True
    assert item.GetName() is None


def test_other_threads_are_turned_away():
    resolve, _ = scene()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(resolve.GetVersionString()))
    thread.start()
    thread.join()
    assert answers == [None]
    assert "another thread" in resolve.world.offenses[0]


def test_marker_frames_come_back_as_floats_and_a_frame_takes_one():
    _, timeline = scene()
    item = timeline.tracks[0]["items"][0]
    assert item.AddMarker(5, "Sky", "a", "", 1, "x") is True
    assert item.AddMarker(5, "Sky", "b", "", 1, "y") is False
    assert item.AddMarker(6, "Teal", "a clip color", "", 1, "z") is False
    assert [type(key) for key in item.GetMarkers()] == [float]


def test_the_scene_tells_its_frames_apart():
    _, timeline = scene()
    shown = [timeline.top_item(START + 10 + k).picture(START + 10 + k) for k in range(12)]
    assert [resolve_scene.frame_of(picture) for picture in shown] == list(range(4, 16))
