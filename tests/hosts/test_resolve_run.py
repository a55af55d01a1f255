"""Whole runs: several clips, what changed and what did not, and all that can happen to one."""

from __future__ import annotations

import json
import threading
import time

import pytest

pytest.importorskip("OpenImageIO")
pytest.importorskip("av")

import opentimelineio
import resolve_scene
from fake_resolve import add_clip, add_transition
from fake_resolve_base import Rules
from fake_resolve_media import read_picture
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

from host_plugins.host_layer import Pin
from host_plugins.resolve_host.calls import HostChanged, HostLost
from host_plugins.resolve_host.clean import clean
from host_plugins.resolve_host.clips import choose_clips
from host_plugins.resolve_host.exemplars import add_exemplar
from host_plugins.resolve_host.markers import pin_exemplar, pins_of, read_record
from host_plugins.resolve_host.options import Options
from host_plugins.resolve_host.preview import preview
from host_plugins.resolve_host.selftest import SelfTest
from host_plugins.wire.errors import BridgeError

honest = resolve_scene.honest


def whats(made):
    return [outcome.what for outcome in made.outcomes]


def test_several_clips_are_colored_in_one_go_each_in_a_session_of_its_own(tmp_path):
    resolve, timeline = scene()
    host, service = host_of(resolve), FakeService(tmp_path)
    made = run(host, service, tmp_path)
    assert whats(made) == ["placed", "placed"]
    assert len(service.jobs) == 2
    assert placed(timeline, 2) == [(10, 0, 12), (30, 0, 8)]
    assert placed(timeline, 1) == [(10, 4, 12), (30, 0, 8)]  # untouched
    for at in (*range(10, 22), *range(30, 38)):
        top, below = timeline.top_item(START + at), timeline.tracks[0]["items"][at >= 30]
        assert frame_of(top.picture(START + at)) == frame_of(below.picture(START + at))
        picture = top.picture(START + at)
        assert picture[..., 2].mean() < 0.6 * picture[..., 0].mean()  # colored
    assert not list((tmp_path / "cache" / "plates").iterdir())


def test_the_result_says_what_made_it(tmp_path):
    resolve, timeline = scene()
    made = run(host_of(resolve), FakeService(tmp_path), tmp_path)
    item = timeline.tracks[1]["items"][0]
    record = read_record(host_of(resolve).calls, item)
    assert record["effect"] == "starter"
    assert record["clip"] == timeline.tracks[0]["items"][0].uid
    assert made.outcomes[0].report.is_file()
    assert item.color == "Teal"


def test_opentimelineio_tells_the_same_frames(tmp_path):
    resolve, timeline = scene()
    run(host_of(resolve), FakeService(tmp_path), tmp_path)
    path = tmp_path / "reel.otio"
    assert timeline.Export(str(path), resolve.EXPORT_OTIO, resolve.EXPORT_NONE)
    read = opentimelineio.adapters.read_from_file(str(path))
    below, above = read.tracks
    assert above.name == "Colorized"
    spans = [
        [(clip.range_in_parent().start_time.value, clip.source_range.duration.value)
         for clip in track.find_clips()]
        for track in (below, above)
    ]  # fmt: skip
    assert spans[0] == spans[1] == [(10, 12), (30, 8)]
    assert [clip.source_range.start_time.value for clip in above.find_clips()] == [0, 0]
    assert read.global_start_time.value == START


def test_a_second_run_colors_nothing_and_a_change_only_what_it_touches(tmp_path):
    resolve, timeline = scene()
    host, service = host_of(resolve), FakeService(tmp_path)
    run(host, service, tmp_path)
    items = list(timeline.tracks[1]["items"])
    again = run(host, service, tmp_path)
    assert whats(again) == ["unchanged", "unchanged"]
    assert len(service.jobs) == 2
    timeline.tracks[0]["items"][1].__dict__["grade"] = 0.7
    third = run(host, service, tmp_path)
    assert whats(third) == ["unchanged", "placed"]
    assert len(service.jobs) == 3
    now = timeline.tracks[1]["items"]
    assert now[0] is items[0]
    assert now[1] is not items[1]
    assert placed(timeline, 2) == [(10, 0, 12), (30, 0, 8)]


def test_other_parameters_and_exemplars_are_a_change(tmp_path):
    resolve, _ = scene()
    host, service = host_of(resolve), FakeService(tmp_path)
    run(host, service, tmp_path)
    assert whats(run(host, service, tmp_path, values={"strength": 2.0})) == ["placed", "placed"]
    pins = (Pin(str(exemplar(tmp_path)), 5),)
    assert whats(run(host, service, tmp_path, exemplars=pins)) == ["placed", "placed"]


def test_a_clip_that_was_moved_is_placed_anew(tmp_path):
    resolve, timeline = scene()
    host, service = host_of(resolve), FakeService(tmp_path)
    run(host, service, tmp_path)
    timeline.tracks[0]["items"][1].__dict__["start"] += 20
    assert whats(run(host, service, tmp_path)) == ["unchanged", "placed"]
    assert placed(timeline, 2) == [(10, 0, 12), (50, 0, 8)]


def test_pinned_exemplars_reach_the_server_with_their_source_frames(tmp_path):
    resolve, timeline = scene()
    host, service = host_of(resolve), FakeService(tmp_path)
    (clip,), _ = choose_clips(host, timeline, "playhead")
    pin_exemplar(host.calls, clip, Pin(str(exemplar(tmp_path)), 9))
    made = run(host, service, tmp_path, exemplars=(), clips="playhead")
    assert whats(made) == ["placed"]
    assert [pin.frame for pin in service.jobs[0].spec.pins] == [9]
    assert [plate.index for plate in service.jobs[0].plates] == list(range(4, 16))


def test_a_clip_without_exemplars_fails_before_anything_is_rendered(tmp_path):
    resolve, _ = scene()
    host, service = host_of(resolve), FakeService(tmp_path)
    made = run(host, service, tmp_path, exemplars=())
    assert whats(made) == ["failed", "failed"]
    assert "exemplar" in made.outcomes[0].text
    assert resolve.world.calls["Project", "AddRenderJob"] == 0


def test_transitions_on_the_track_are_left_out_with_a_word(tmp_path):
    resolve, timeline = scene()
    add_transition(timeline, at=20, count=4)
    made = run(host_of(resolve), FakeService(tmp_path), tmp_path)
    assert whats(made) == ["placed", "placed"]
    assert "no media" in made.notes[0]


def test_one_clip_that_fails_does_not_stop_the_others(tmp_path):
    resolve, timeline = scene()
    host, service = host_of(resolve), FakeService(tmp_path, fail_at=9)  # the second has 8 frames
    made = run(host, service, tmp_path)
    assert whats(made) == ["failed", "placed"]
    assert "memory" in made.outcomes[0].text
    assert placed(timeline, 2) == [(30, 0, 8)]


def test_the_plates_color_space_is_told_to_the_server(tmp_path):
    resolve, _ = scene()
    host, service = host_of(resolve), FakeService(tmp_path)
    run(host, service, tmp_path, clips="playhead", plate_format="exr")
    assert service.jobs[0].spec.values["input_space"] == "display"
    assert service.jobs[0].spec.encoding == "exr"
    run(host, service, tmp_path, clips="playhead", values={"input_space": "ACEScg"})
    assert service.jobs[1].spec.values["input_space"] == "ACEScg"
    resolve.manager.current.settings["colorSpaceOutput"] = "Linear"
    run(host, service, tmp_path, clips="playhead")
    assert service.jobs[2].spec.values["input_space"] == ""
    assert service.jobs[2].plates[0].path.suffix == ".exr"


def test_a_preset_of_another_effect_never_makes_a_run_fail(tmp_path):
    resolve, _ = scene()
    host, service = host_of(resolve), FakeService(tmp_path)
    made = run(host, service, tmp_path, clips="playhead", values={"volume": 11, "size": 300})
    assert whats(made) == ["placed"]
    assert "volume" in made.outcomes[0].notes[0]
    assert service.jobs[0].spec.values == {"size": 300, "input_space": ""}


def test_an_ungraded_plate_brings_the_clips_look_along(tmp_path):
    resolve, timeline = scene()
    timeline.tracks[0]["items"][0].properties["ZoomX"] = 1.5
    made = run(host_of(resolve), FakeService(tmp_path), tmp_path, clips="playhead",
               plate="ungraded")  # fmt: skip
    assert whats(made) == ["placed"]
    item = timeline.tracks[1]["items"][0]
    assert (item.grade, item.properties["ZoomX"]) == (0.8, 1.5)


def test_a_graded_result_gets_no_second_grade(tmp_path):
    resolve, timeline = scene()
    run(host_of(resolve), FakeService(tmp_path), tmp_path, clips="playhead")
    assert timeline.tracks[1]["items"][0].grade == 1.0


@pytest.mark.parametrize("place", ["take", "loader"])
def test_the_other_placements_change_nothing_but_the_clips_own_stack(tmp_path, place):
    resolve, timeline = scene()
    host, service = host_of(resolve), FakeService(tmp_path)
    options = {"clips": "playhead", "plate": "ungraded", "place": place}
    assert whats(run(host, service, tmp_path, **options)) == ["placed"]
    assert len(timeline.tracks) == 1
    item = timeline.tracks[0]["items"][0]
    assert (item.take == 2) == (place == "take")
    assert len(item.comps) == (place == "loader")
    assert whats(run(host, service, tmp_path, **options)) == ["unchanged"]


# --- what happens while it runs ---


def test_a_cancel_puts_everything_back_and_the_next_run_goes_on(tmp_path):
    resolve, timeline = scene()
    host, service = host_of(resolve), FakeService(tmp_path)
    made = started(host, service, tmp_path)
    steps = made.steps()
    for step in steps:
        if step.stage == "color" and step.done >= 1:
            break
    steps.close()
    assert whats(made) == ["cancelled"]
    assert service.jobs[0].stopped.is_set()
    assert resolve.page == "edit"
    assert len(timeline.tracks) == 1
    assert whats(run(host, service, tmp_path)) == ["placed", "placed"]


class Interference:
    """Does something to Resolve while the server colors the first clip."""

    def __init__(self, action):
        self.action = action
        self.armed = threading.Event()

    def __call__(self, done):
        if done == 2 and not self.armed.is_set():
            self.armed.set()
            time.sleep(0.02)

    def show(self, step):
        if self.armed.is_set() and self.action is not None:
            self.action()
            self.action = None


def interfered(tmp_path, resolve, action):
    trouble = Interference(action)
    host, service = host_of(resolve), FakeService(tmp_path, during=trouble)
    made = started(host, service, tmp_path)
    try:
        driven(host, made.steps(), trouble.show)
    finally:
        assert trouble.action is None
    return made


def test_resolve_going_away_stops_the_run_and_keeps_the_frames(tmp_path):
    resolve, _ = scene()
    with pytest.raises(HostLost) as caught:
        interfered(tmp_path, resolve, lambda: resolve.world.__setattr__("lost", True))
    assert "run again" in caught.value.hint
    assert list((tmp_path / "results").rglob("*.tif"))
    resolve.world.lost = False


def test_a_closed_project_stops_the_run(tmp_path):
    resolve, _ = scene()
    with pytest.raises(HostChanged, match="closed"):
        interfered(tmp_path, resolve, lambda: resolve.manager.__dict__.update(current=None))


def test_a_deleted_timeline_stops_the_run(tmp_path):
    resolve, timeline = scene()
    project = resolve.manager.current
    with pytest.raises(HostChanged, match="timeline was deleted"):
        interfered(tmp_path, resolve, lambda: project.drop_timelines([timeline]))


def test_a_trimmed_clip_stops_the_run(tmp_path):
    resolve, timeline = scene()
    item = timeline.tracks[0]["items"][0]
    with pytest.raises(HostChanged, match="trimmed"):
        interfered(tmp_path, resolve, lambda: item.__dict__.update(duration=10))
    assert len(timeline.tracks) == 1


def test_a_clip_that_is_moved_meanwhile_gets_its_result_where_it_is_now(tmp_path):
    resolve, timeline = scene()
    item = timeline.tracks[0]["items"][0]
    made = interfered(tmp_path, resolve, lambda: item.__dict__.update(start=START + 60))
    assert whats(made) == ["placed", "placed"]
    assert placed(timeline, 2) == [(30, 0, 8), (60, 0, 12)]


def test_looking_at_another_timeline_meanwhile_does_no_harm(tmp_path):
    resolve, timeline = scene()
    project = resolve.manager.current
    made = interfered(tmp_path, resolve, lambda: project.new_timeline("Other"))
    assert whats(made) == ["placed", "placed"]
    assert placed(timeline, 2) == [(10, 0, 12), (30, 0, 8)]
    assert project.current.name == "Other"


def test_a_dialog_in_the_middle_is_told_and_the_frames_are_kept(tmp_path):
    resolve, _ = scene()
    made = interfered(tmp_path, resolve, lambda: setattr(resolve.world, "modal", True))
    assert whats(made) == ["failed", "failed"]
    assert "dialog" in made.outcomes[0].text
    resolve.world.modal = False


OLD = frozenset(
    {"DeleteRenderPreset", "GetMarkInOut", "GetTrackTypeAndIndex", "GetSourceStartFrame",
     "GetSourceEndFrame", "GetSelectedClips"}
)  # fmt: skip


@pytest.mark.parametrize(
    "rules",
    [Rules(headless=True), Rules(version=(18, 5, 0), missing=OLD), Rules(end_inclusive=True),
     Rules(render_subfolder="a/b"), Rules(preset_import=False), Rules(import_rate="30"),
     Rules(keyed_properties=False, missing=frozenset({"GetSetting"}))],
)  # fmt: skip
def test_every_resolve_gives_the_same_timeline(tmp_path, rules):
    resolve, timeline = scene(rules)
    made = run(host_of(resolve), FakeService(tmp_path), tmp_path)
    assert whats(made) == ["placed", "placed"]
    assert placed(timeline, 2) == [(10, 0, 12), (30, 0, 8)]


@pytest.mark.parametrize(
    "call",
    ["SetCurrentTimeline", "OpenPage", "SetTrackEnable", "SetRenderSettings", "AddRenderJob",
     "StartRendering", "LoadRenderPreset",
     "DeleteRenderPreset", "SetCurrentRenderFormatAndCodec", "ImportMedia",
     "AddSubFolder", "SetCurrentFolder", "SetClipProperty", "AddTrack", "SetTrackName",
     "AppendToTimeline", "AddMarker", "SaveProject", "GetProjectManager", "GetMediaPool"],
)  # fmt: skip
@pytest.mark.parametrize("how", ["hiccups", "lies"])
def test_one_failure_of_any_call_changes_nothing(tmp_path, call, how):
    resolve, timeline = scene()
    add_clip(timeline, str(footage()), at=50, left=0, count=4, track=2)
    resolve.OpenPage("color")
    host, service = host_of(resolve), FakeService(tmp_path)
    getattr(resolve.world, how)[call] = 1
    made = run(host, service, tmp_path, clips="playhead")
    assert getattr(resolve.world, how)[call] == 0
    assert whats(made) == ["placed"]
    assert [track["name"] for track in timeline.tracks] == ["Video 1", "Video 2", "Colorized"]
    assert placed(timeline, 3) == [(10, 0, 12)]
    assert len(resolve.manager.current.pool.root.folders) == 1
    assert len(resolve.manager.current.pool.root.folders[0].clips) == 1
    assert len(timeline.tracks[2]["items"][0].markers) == 1


# --- preview, clean, self-test ---


def test_a_preview_is_the_frame_at_the_playhead_before_and_after(tmp_path):
    resolve, _ = scene()
    host, service = host_of(resolve), FakeService(tmp_path)
    pins = (Pin(str(exemplar(tmp_path)), 9), Pin(str(exemplar(tmp_path)), 5))
    options = Options(exemplars=pins, values={"size": 300, "volume": 11})
    made = driven(host, preview(host, service, options, tmp_path / "preview"))
    before, after = read_picture(made.before), read_picture(made.after)
    assert made.frame == START + 12
    assert frame_of(before / 0.8) == frame_of(after / 0.8) == 6
    assert after[..., 2].mean() < 0.6 * before[..., 2].mean()
    assert [pin.frame for pin in service.jobs[0].spec.pins] == [None]
    assert service.jobs[0].spec.priority == "interactive"
    assert service.jobs[0].spec.values == {"size": 300}


@pytest.mark.parametrize("how", ["file", "still", "render", "gallery"])
def test_an_exemplar_comes_from_a_file_a_still_a_render_or_the_gallery(tmp_path, how):
    resolve, timeline = scene(Rules(gallery_open=True))
    timeline.GrabStill()
    host, notes = host_of(resolve), []
    path = str(exemplar(tmp_path))
    marker = driven(host, add_exemplar(host, tmp_path / "kept", how, path=path, notes=notes))
    assert marker.pin.frame == 6
    picture = read_picture(marker.pin.path)
    assert picture.shape == (54, 96, 3)
    if how != "file":
        assert frame_of(picture / 0.8) == 6
    (clip,), _ = choose_clips(host, timeline, "playhead")
    assert [pin.path for pin in pins_of(host.calls, clip)] == [marker.pin.path]
    assert notes == []
    assert resolve.page == "edit"


def test_an_exemplar_that_cannot_be_read_is_not_pinned(tmp_path):
    resolve, timeline = scene()
    host = host_of(resolve)
    for how, path in (("file", "/nowhere.png"), ("gallery", ""), ("thought", "")):
        with pytest.raises(BridgeError):
            driven(host, add_exemplar(host, tmp_path, how, path=path, notes=[]))
    assert timeline.tracks[0]["items"][0].markers == {}


def test_clean_removes_what_a_killed_run_forgot_and_nothing_else(tmp_path):
    resolve, timeline = scene()
    host, service = host_of(resolve), FakeService(tmp_path)
    run(host, service, tmp_path)
    project = resolve.manager.current
    scratch = tmp_path / "cache" / "plates"
    (scratch / "plate-x").mkdir()
    project.new_timeline("ChromaBridge temporary i-1")
    project.SetCurrentTimeline(timeline)
    project.SaveAsNewRenderPreset("ChromaBridge temporary deliver")
    resolve.OpenPage("deliver")
    for folder in (scratch / "plate-x", tmp_path / "mine"):
        project.SetRenderSettings({"TargetDir": str(folder), "SelectAllFrames": True})
        project.AddRenderJob()
    done = clean(host, scratch=scratch)
    assert (done.timelines, done.presets, done.render_jobs, done.plate_folders) == (1, 1, 1, 1)
    assert [t.name for t in project.timelines] == ["Reel 1"]
    assert [job["keys"]["TargetDir"] for job in project.jobs.values()] == [str(tmp_path / "mine")]
    assert len(timeline.tracks) == 2
    assert clean(host, scratch=scratch).sentence == "There was nothing to remove."


def test_clean_takes_results_and_pins_only_when_asked(tmp_path):
    resolve, timeline = scene()
    host, service = host_of(resolve), FakeService(tmp_path)
    (clip,), _ = choose_clips(host, timeline, "playhead")
    pin_exemplar(host.calls, clip, Pin(str(exemplar(tmp_path)), 9))
    run(host, service, tmp_path)
    add_clip(timeline, str(footage()), at=80, left=0, count=4, track=2)  # the user's own
    done = clean(host, scratch=tmp_path, results=True)
    assert (done.results, done.markers) == (2, 0)
    assert placed(timeline, 2) == [(80, 0, 4)]
    assert clean(host, scratch=tmp_path, pins=True).markers == 1
    assert timeline.tracks[0]["items"][0].markers == {}


@pytest.mark.parametrize("inclusive", [False, True])
def test_the_self_test_passes_reports_and_leaves_the_project_alone(tmp_path, inclusive,
                                                                   monkeypatch):  # fmt: skip
    monkeypatch.setattr("host_plugins.resolve_host.sample_clip.HEIGHT", 190)
    monkeypatch.setattr("host_plugins.resolve_host.sample_clip.WIDTH", 400)
    resolve, timeline = scene(Rules(end_inclusive=inclusive))
    before = json.dumps(placed(timeline, 1))
    host = host_of(resolve)
    test = SelfTest(host, FakeService(tmp_path), tmp_path / "test")
    driven(host, test.steps())
    assert [check for check in test.checks if check.ok is False] == []
    assert test.passed
    facts = {check.title: check.found for check in test.checks}
    assert facts["AppendToTimeline's endFrame is"] == ("inclusive" if inclusive else "exclusive")
    assert "OpenTimelineIO" in test.report.read_text()
    assert resolve.manager.current.name == "Feature"
    assert list(resolve.manager.projects) == ["Feature"]
    assert json.dumps(placed(timeline, 1)) == before


def test_a_self_test_that_finds_a_fault_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("host_plugins.resolve_host.sample_clip.HEIGHT", 190)
    monkeypatch.setattr("host_plugins.resolve_host.sample_clip.WIDTH", 400)
    resolve, _ = scene(Rules(render_drops=1))
    host = host_of(resolve)
    test = SelfTest(host, FakeService(tmp_path), tmp_path / "test")
    driven(host, test.steps())
    assert not test.passed
    assert "FAILED" in test.report.read_text()
