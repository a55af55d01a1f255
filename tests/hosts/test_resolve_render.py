"""The plate out of the render queue: every frame, nothing else, and Resolve as it was before."""

from __future__ import annotations

import pytest

pytest.importorskip("OpenImageIO")
pytest.importorskip("av")

import resolve_scene
from fake_resolve import STOCK_PRESETS, add_clip
from fake_resolve_base import Rules
from fake_resolve_media import Media, read_picture, write_picture
from resolve_scene import START, driven, footage, frame_of, host_of, scene

from host_plugins.resolve_host.calls import HostLost, Refused
from host_plugins.resolve_host.clips import choose_clips
from host_plugins.resolve_host.frames import Range
from host_plugins.resolve_host.host import Watch
from host_plugins.resolve_host.plate import make_plate, render_one
from host_plugins.resolve_host.render import RenderOrder, render
from host_plugins.resolve_host.source_file import why_not
from host_plugins.resolve_host.stills import export_frame, export_gallery
from host_plugins.resolve_host.tiff_plate import PlateTiff
from host_plugins.wire.errors import BridgeError

honest = resolve_scene.honest


def order(timeline, folder, kind="tif", track=1):
    return RenderOrder(timeline, Range(START + 10, START + 21), folder, 54, 96, 24.0, kind, track)


def rendered(resolve, timeline, folder, kind="tif", track=1, show=lambda step: None):
    host = host_of(resolve)
    notes: list = []
    files = driven(host, render(host, order(timeline, folder, kind, track), notes=notes), show)
    return files, notes


@pytest.mark.parametrize("kind", ["tif", "exr"])
def test_every_frame_of_the_clip_comes_and_no_other(tmp_path, kind):
    resolve, timeline = scene()
    add_clip(timeline, str(footage()), at=22, left=0, count=8)  # the next clip begins at its end
    files, notes = rendered(resolve, timeline, tmp_path / "out", kind)
    assert [frame_of(read_picture(path) / 0.8) for path in files] == list(range(4, 16))
    assert [path.suffix for path in files] == [f".{kind}"] * 12
    assert notes == []


def state(resolve, timeline):
    project = resolve.manager.current
    return {
        "page": resolve.page,
        "timeline": project.current.name,
        "timelines": [t.name for t in project.timelines],
        "tracks": [track["enabled"] for track in timeline.tracks],
        "playhead": timeline.playhead,
        "marks": dict(timeline.marks),
        "deliver": project.deliver,
        "mode": project.render_mode,
        "jobs": dict(project.jobs),
        "rendering": project.rendering,
        "bin": project.pool.current.name,
        "temporary presets": [name for name in project.presets if "temporary" in name],
    }


def busy_scene(rules=None):
    """A scene with something set in every place that a run touches."""
    resolve, timeline = scene(rules)
    add_clip(timeline, str(footage()), at=8, left=0, count=20, track=2, grade=0.3)
    add_clip(timeline, str(footage()), at=8, left=0, count=20, track=3, grade=0.5)
    resolve.OpenPage("edit")
    timeline.SetTrackEnable("video", 3, False)
    timeline.SetMarkInOut(2, 40)
    resolve.OpenPage("color")
    project = resolve.manager.current
    project.deliver["keys"].update(TargetDir="mine", CustomName="mine", MarkIn=1)
    project.__dict__["render_mode"] = 0
    return resolve, timeline


def test_one_track_is_rendered_alone_and_all_is_put_back(tmp_path):
    resolve, timeline = busy_scene()
    before = state(resolve, timeline)
    files, notes = rendered(resolve, timeline, tmp_path / "out")
    assert read_picture(files[0]).max() > 0.6  # track 1 at 0.8, not track 2 at 0.3 above it
    assert state(resolve, timeline) == before
    assert notes == []


def test_all_is_put_back_after_a_failed_render(tmp_path):
    resolve, timeline = busy_scene(Rules(render_fails="disk is full"))
    before = state(resolve, timeline)
    with pytest.raises(Refused, match="disk is full"):
        rendered(resolve, timeline, tmp_path / "out")
    assert state(resolve, timeline) == before


def test_all_is_put_back_after_a_cancel_in_the_middle(tmp_path):
    resolve, timeline = busy_scene()
    before = state(resolve, timeline)
    host = host_of(resolve)
    steps = render(host, order(timeline, tmp_path / "out"), notes=[])
    next(steps)
    assert resolve.manager.current.rendering is not None
    steps.close()
    assert resolve.world.calls["Project", "StopRendering"] == 1
    assert state(resolve, timeline) == before


def test_without_windows_there_is_no_page_to_come_back_to(tmp_path):
    resolve, timeline = busy_scene(Rules(headless=True))
    files, notes = rendered(resolve, timeline, tmp_path / "out")
    assert len(files) == 12
    assert notes == []


def test_what_cannot_be_put_back_is_told_and_the_rest_is_restored(tmp_path):
    resolve, timeline = busy_scene()
    before = state(resolve, timeline)

    def break_it(step):
        resolve.world.hiccups["LoadRenderPreset"] = 2

    _, notes = rendered(resolve, timeline, tmp_path / "out", show=break_it)
    assert any("Deliver page's settings" in note for note in notes)
    after = state(resolve, timeline)
    for name in ("page", "tracks", "marks", "mode", "jobs"):
        assert after[name] == before[name]


def test_deliver_settings_that_cannot_be_kept_are_told_and_stop_nothing(tmp_path):
    resolve, timeline = busy_scene()
    resolve.world.hiccups["SaveAsNewRenderPreset"] = 1
    files, notes = rendered(resolve, timeline, tmp_path / "out")
    assert len(files) == 12
    assert "Deliver page" in notes[0]
    assert [name for name in resolve.manager.current.presets if "temporary" in name] == []


def test_versions_that_cannot_delete_presets_keep_format_and_mode(tmp_path):
    lacking = frozenset({"DeleteRenderPreset", "GetMarkInOut"})
    resolve, timeline = busy_scene(Rules(missing=lacking, version=(18, 5, 0)))
    before = state(resolve, timeline)
    rendered(resolve, timeline, tmp_path / "out")
    after = state(resolve, timeline)
    assert (after["deliver"]["codec"], after["mode"]) == (
        before["deliver"]["codec"], before["mode"])  # fmt: skip
    assert after["temporary presets"] == []


def test_a_job_that_sits_at_100_is_waited_for(tmp_path):
    resolve, timeline = scene(Rules(lag_polls=6))
    percents = []
    rendered(resolve, timeline, tmp_path / "out", show=lambda s: percents.append(s.done))
    assert percents.count(12) >= 5
    assert resolve.manager.current.rendering is None


def test_a_job_that_never_says_complete_ends_when_its_files_are_there(tmp_path):
    resolve, timeline = scene(Rules(lag_polls=10**6))
    files, _ = rendered(resolve, timeline, tmp_path / "out")
    assert len(files) == 12


def test_frames_that_the_renderer_forgot_are_missed(tmp_path):
    resolve, timeline = scene(Rules(render_drops=1))
    with pytest.raises(BridgeError, match="rendered 12 tif files, 11 came"):
        rendered(resolve, timeline, tmp_path / "out")


def test_files_in_a_presets_subfolder_are_found(tmp_path):
    resolve, timeline = scene(Rules(render_subfolder="V1/clips"))
    files, _ = rendered(resolve, timeline, tmp_path / "out")
    assert len(files) == 12


def test_an_audio_only_base_never_reaches_the_render(tmp_path):
    resolve, timeline = scene()
    assert resolve.manager.current.deliver["video"] is False
    assert len(rendered(resolve, timeline, tmp_path / "a")[0]) == 12
    resolve, timeline = scene(Rules(preset_import=False))  # a stock preset with video then
    assert len(rendered(resolve, timeline, tmp_path / "b")[0]) == 12


def test_no_base_with_video_is_an_error_and_not_a_silent_file(tmp_path, monkeypatch):
    monkeypatch.delitem(STOCK_PRESETS, "H.264 Master")
    resolve, timeline = scene(Rules(preset_import=False))
    with pytest.raises(Refused, match="preset"):
        rendered(resolve, timeline, tmp_path / "out")


def test_a_refused_job_is_an_error_with_a_hint(tmp_path):
    resolve, timeline = scene()
    host = host_of(resolve)
    wrong = RenderOrder(timeline, Range(10, 21), tmp_path, 54, 96, 24.0)  # not absolute
    with pytest.raises(Refused, match="AddRenderJob") as caught:
        driven(host, render(host, wrong, notes=[]))
    assert "Deliver page" in caught.value.hint


def test_a_job_that_was_added_in_silence_is_not_added_twice(tmp_path):
    resolve, timeline = scene()
    resolve.world.lies["AddRenderJob"] = 1
    files, _ = rendered(resolve, timeline, tmp_path / "out")
    assert len(files) == 12
    assert resolve.world.calls["Project", "AddRenderJob"] == 1


def test_jobs_of_the_user_stay_in_the_queue(tmp_path):
    resolve, timeline = scene()
    project = resolve.manager.current
    resolve.OpenPage("deliver")
    project.SetRenderSettings({"TargetDir": "mine", "SelectAllFrames": True})
    mine = project.AddRenderJob()
    rendered(resolve, timeline, tmp_path / "out")
    assert list(project.jobs) == [mine]


def test_resolve_going_away_in_a_render_is_told(tmp_path):
    resolve, timeline = scene()

    def quit(step):
        resolve.world.lost = True

    with pytest.raises(HostLost):
        rendered(resolve, timeline, tmp_path / "out", show=quit)


def test_one_frame_is_rendered_with_mark_in_and_out_the_same(tmp_path):
    resolve, timeline = scene()
    host = host_of(resolve)
    (clip,), _ = choose_clips(host, timeline, "playhead")
    path = driven(host, render_one(host, Watch(host), clip, START + 13, tmp_path, "tif"))
    assert frame_of(read_picture(path) / 0.8) == 7


# --- which plate ---


def plate(resolve, folder, wanted, which="playhead"):
    host = host_of(resolve)
    watch = Watch(host)
    clip = choose_clips(host, watch.timeline, which)[0][0]
    return driven(host, make_plate(host, watch, clip, wanted=wanted, folder=folder, kind="tif"))


@pytest.mark.parametrize("inclusive", [False, True])
def test_an_ungraded_plate_has_no_grade_and_leaves_no_timeline(tmp_path, inclusive):
    resolve, timeline = busy_scene(Rules(end_inclusive=inclusive))
    timeline.tracks[1]["enabled"] = False
    before = state(resolve, timeline)
    made = plate(resolve, tmp_path / "out", "ungraded")
    pictures = [read_picture(frame.path) for frame in made.frames]
    assert [frame_of(picture) for picture in pictures] == list(range(4, 16))
    assert pictures[0].max() > 0.85  # the bar at 0.9, without the grade of 0.8
    assert state(resolve, timeline) == before
    assert made.notes == ()


@pytest.mark.parametrize("wanted", ["graded", "ungraded"])
def test_the_timeline_that_the_user_looks_at_comes_back_after_a_render(tmp_path, wanted):
    resolve, timeline = scene()
    host, project = host_of(resolve), resolve.manager.current
    watch = Watch(host)
    clip = choose_clips(host, timeline, "playhead")[0][0]
    other = project.new_timeline("Other")
    made = driven(
        host, make_plate(host, watch, clip, wanted=wanted, folder=tmp_path / "out", kind="tif")
    )
    assert len(made.frames) == 12
    assert project.current is other
    assert project.timelines == [timeline, other]


def test_an_ungraded_plate_of_another_rate_is_refused(tmp_path):
    resolve, timeline = scene()
    timeline.tracks[0]["items"][0].clip.properties["FPS"] = "12"
    with pytest.raises(Refused, match="CreateTimelineFromClips") as caught:
        plate(resolve, tmp_path / "out", "ungraded")
    assert "graded" in caught.value.hint
    assert [t.name for t in resolve.manager.current.timelines] == ["Reel 1"]


def test_frames_are_numbered_as_in_the_source(tmp_path):
    resolve, _ = scene()
    made = plate(resolve, tmp_path / "out", "graded")
    assert [frame.index for frame in made.frames] == list(range(4, 16))


def sequence_scene(folder, rate="24"):
    resolve, timeline = scene()
    media = Media(str(footage()))
    folder.mkdir()
    for number in range(24):
        write_picture(folder / f"in.{number + 101:04d}.tif", media.frame(number))
    item = add_clip(timeline, str(folder / "in.[0101-0124].tif"), at=60, left=3, count=6)
    item.clip.properties["FPS"] = rate
    timeline.__dict__["playhead"] = START + 62
    return resolve, timeline, item


def test_a_sequence_is_read_where_it_lies(tmp_path):
    resolve, _, _ = sequence_scene(tmp_path / "in")
    made = plate(resolve, tmp_path / "out", "file")
    assert made.made == "file"
    assert [frame.path.name for frame in made.frames][:2] == ["in.0104.tif", "in.0105.tif"]
    assert resolve.world.calls["Project", "AddRenderJob"] == 0


def reasons(resolve, timeline):
    host = host_of(resolve)
    return " ".join(why_not(host, timeline, choose_clips(host, timeline, "playhead")[0][0]))


def test_a_file_that_is_not_what_the_timeline_shows_is_rendered_instead(tmp_path):
    resolve, timeline, item = sequence_scene(tmp_path / "in", rate="25")
    assert "rate of 25" in reasons(resolve, timeline)
    item.clip.properties["FPS"] = "24"
    assert reasons(resolve, timeline) == ""
    item.__dict__["speed"] = 2.0
    assert "retimed" in reasons(resolve, timeline)
    item.__dict__["speed"] = 1.0
    (tmp_path / "in" / "in.0105.tif").unlink()
    assert "not on this machine" in reasons(resolve, timeline)
    item.clip.properties["File Path"] = None  # a compound
    assert "no file" in reasons(resolve, timeline)


def test_reading_a_file_that_cannot_be_read_says_why_it_renders(tmp_path):
    resolve, _, item = sequence_scene(tmp_path / "in")
    item.clip.properties["File Path"] = "/elsewhere/shot.braw"
    made = plate(resolve, tmp_path / "out", "file")
    assert made.made == "ungraded"
    assert ".braw files are not read" in made.notes[0]


def test_a_second_render_of_the_same_picture_has_the_same_digest(tmp_path):
    import OpenImageIO as oiio

    picture = Media(str(footage())).frame(3)
    for name, date in (("a", "2026:01:01 00:00:00"), ("b", "2026:01:02 11:11:11")):
        spec = oiio.ImageSpec(96, 54, 3, oiio.UINT16)
        spec.attribute("DateTime", date)
        spec.attribute("compression", "zip")
        out = oiio.ImageOutput.create(str(tmp_path / f"{name}.tif"))
        out.open(str(tmp_path / f"{name}.tif"), spec)
        out.write_image(picture)
        out.close()
    first, second = (PlateTiff(3, tmp_path / f"{name}.tif") for name in "ab")
    assert first.path.read_bytes() != second.path.read_bytes()
    assert first.digest() == second.digest()
    write_picture(tmp_path / "c.tif", picture * 0.99)
    assert PlateTiff(3, tmp_path / "c.tif").digest() != first.digest()


def test_a_damaged_tiff_is_told_by_all_its_bytes(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0\xff")
    (tmp_path / "b.tif").write_bytes(b"II*\0\x08\0\0\0\xfe")
    one, other = (PlateTiff(0, tmp_path / f"{name}.tif").digest() for name in "ab")
    assert one != other


# --- stills ---


def still(resolve, path, frame=START + 13):
    host = host_of(resolve)
    watch = Watch(host)
    clip = choose_clips(host, watch.timeline, "track:1")[0][0]
    notes: list = []
    return export_frame(host, watch, clip, frame, path, notes), notes


def test_a_still_shows_the_frame_asked_for_and_not_the_one_before(tmp_path):
    resolve, timeline = busy_scene()
    timeline.tracks[1]["enabled"] = False
    resolve.OpenPage("edit")
    before = state(resolve, timeline)
    path, notes = still(resolve, tmp_path / "a.png")
    assert frame_of(read_picture(path) / 0.8) == 7
    assert state(resolve, timeline) == before
    assert notes == []


def test_a_still_outside_the_clip_is_refused(tmp_path):
    resolve, _ = scene()
    with pytest.raises(BridgeError, match="expected a frame of"):
        still(resolve, tmp_path / "a.png", START + 99)


def test_a_still_that_never_came_is_an_error(tmp_path):
    resolve, _ = scene()
    resolve.world.hiccups["ExportCurrentFrameAsStill"] = 2
    with pytest.raises(Refused, match="ExportCurrentFrameAsStill"):
        still(resolve, tmp_path / "a.png")


def test_gallery_stills_are_offered_and_never_relied_on(tmp_path):
    resolve, timeline = scene()
    timeline.GrabStill()
    with pytest.raises(Refused) as caught:
        export_gallery(host_of(resolve), tmp_path / "a")
    assert "Gallery panel" in caught.value.hint
    resolve, timeline = scene(Rules(gallery_open=True))
    timeline.GrabStill()
    assert len(export_gallery(host_of(resolve), tmp_path / "b")) == 1
