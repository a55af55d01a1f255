"""Results come back frame-exact, beside what is there; exemplars stay where they were pinned."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("OpenImageIO")
pytest.importorskip("av")

import resolve_scene
from fake_resolve import add_clip
from fake_resolve_base import Rules
from fake_resolve_media import Media, write_picture
from resolve_scene import START, footage, frame_of, host_of, placed, scene

from host_plugins.host_layer import Pin
from host_plugins.resolve_host.bring_in import ResultFiles, import_result
from host_plugins.resolve_host.calls import Refused
from host_plugins.resolve_host.clips import choose_clips
from host_plugins.resolve_host.color_space import read_color
from host_plugins.resolve_host.frames import Rate
from host_plugins.resolve_host.host import Watch
from host_plugins.resolve_host.markers import (
    pin_exemplar,
    pins_of,
    read_pins,
    read_record,
    remove_all,
    write_record,
)
from host_plugins.resolve_host.place import (
    find_result,
    place_as_loader,
    place_as_take,
    place_on_track,
)

honest = resolve_scene.honest


@pytest.fixture
def result(tmp_path):
    """Twelve result files for the first clip of the scene, numbered as in its source."""
    media = Media(str(footage()))
    (tmp_path / "results").mkdir()
    for index in range(4, 16):
        write_picture(tmp_path / "results" / f"out.{index:06d}.tif", media.frame(index))
    return ResultFiles((tmp_path / "results" / "out.%06d.tif").as_posix(), 4, 15)


class Setup:
    def __init__(self, rules=None):
        self.resolve, self.timeline = scene(rules)
        self.host = host_of(self.resolve)
        self.project = self.resolve.manager.current
        self.watch = Watch(self.host)
        self.notes = []

    @property
    def clip(self):
        timeline = self.resolve.manager.current.timelines[0]
        clips, _ = choose_clips(self.host, timeline, "track:1")
        return next(clip for clip in clips if clip.item is timeline.tracks[0]["items"][0])

    def bring(self, files, rate="24"):
        color = read_color(self.host, self.project)
        return import_result(self.host, files, rate=Rate(rate), color=color, notes=self.notes)

    def place(self, files):
        media = self.bring(files)
        item = place_on_track(self.host, self.watch, self.clip, media, self.notes)
        write_record(self.host.calls, item, {"clip": self.clip.uid})
        return item


# --- into the media pool ---


def test_results_land_in_our_bin_and_the_users_bin_stays_open(result):
    made = Setup()
    root = made.project.pool.root
    mine = made.project.pool.AddSubFolder(root, "Mine")
    media = made.bring(result)
    assert made.project.pool.current is mine
    assert [folder.name for folder in root.folders] == ["Mine", "ChromaBridge"]
    assert root.folders[1].clips == [media]
    made.bring(result)
    assert root.folders[1].clips == [media]  # found again, not imported twice
    assert [folder.name for folder in root.folders] == ["Mine", "ChromaBridge"]
    made.bring(ResultFiles(result.pattern, 4, 10))  # into the bin that is there by now
    assert len(root.folders[1].clips) == 2
    assert mine.clips == []


@pytest.mark.parametrize("rate", ["23.976", "25", "24"])
def test_the_rate_is_the_timelines_and_not_the_one_it_came_in_with(result, rate):
    made = Setup()
    assert made.bring(result, rate).properties["FPS"] == rate


def test_a_rate_that_is_not_taken_is_an_error(result):
    with pytest.raises(Refused, match="SetClipProperty") as caught:
        Setup().bring(result, "23.5")
    assert "Clip Attributes" in caught.value.hint


@pytest.mark.parametrize("gives", ["none", "empty"])
def test_an_import_of_nothing_is_an_error(result, gives):
    with pytest.raises(Refused, match="ImportMedia"):
        Setup(Rules(import_gives=gives)).bring(result)


def test_an_import_that_says_nothing_but_was_done_is_found(result):
    made = Setup()
    made.resolve.world.lies["ImportMedia"] = 1
    made.bring(result)
    (folder,) = made.project.pool.root.folders
    assert len(folder.clips) == 1


def test_the_color_space_of_a_managed_project_is_set_and_read_back(result):
    made = Setup()
    made.project.settings["colorScienceMode"] = "davinciYRGBColorManagedv2"
    media = made.bring(result)
    assert media.properties["Input Color Space"] == "Rec.709 Gamma 2.4"
    assert media.properties["Alpha mode"] == "None"
    assert made.notes == []


def test_a_color_space_that_is_not_taken_is_told_to_the_user(result):
    made = Setup()
    made.project.settings.update(
        colorScienceMode="davinciYRGBColorManagedv2", colorSpaceOutput="P3-D65 ST2084 (Studio)"
    )
    made.bring(result)
    assert "Input Color Space" in made.notes[0]
    assert "by hand" in made.notes[0]


# --- onto the timeline ---


@pytest.mark.parametrize("inclusive", [False, True])
def test_the_result_lies_over_the_clip_frame_for_frame(result, inclusive):
    made = Setup(Rules(end_inclusive=inclusive))
    made.place(result)
    assert made.timeline.tracks[1]["name"] == "Colorized"
    assert placed(made.timeline, 2) == [(10, 0, 12)]
    shown = [made.timeline.top_item(START + 10 + k).picture(START + 10 + k) for k in range(12)]
    assert [frame_of(picture) for picture in shown] == list(range(4, 16))
    assert placed(made.timeline, 1)[0] == (10, 4, 12)
    assert made.host.memory.end_inclusive is inclusive
    before = made.resolve.world.calls["MediaPool", "AppendToTimeline"]
    assert before == (2 if inclusive else 1)
    made.place(result)  # the answer is remembered
    assert made.resolve.world.calls["MediaPool", "AppendToTimeline"] == before + 1


def test_a_stale_track_count_makes_no_second_track(result):
    made = Setup()
    made.timeline.AddTrack("video")  # by the user's own script, no page switch since
    made.place(result)
    assert [track["name"] for track in made.timeline.tracks] == ["Video 1", "Video 2", "Colorized"]
    made.place(result)
    assert len(made.timeline.tracks) == 3


def test_the_page_and_the_timeline_that_the_user_looks_at_come_back(result):
    made = Setup()
    other = made.project.new_timeline("Other")  # now the current one
    made.resolve.OpenPage("color")
    clip = made.clip
    media = made.bring(result)
    place_on_track(made.host, made.watch, clip, media, made.notes)
    assert placed(made.timeline, 2) == [(10, 0, 12)]
    assert all(not track["items"] for track in other.tracks)
    assert made.project.current is other
    assert made.resolve.page == "color"


def test_an_occupied_place_gets_a_track_of_its_own(result):
    made = Setup()
    made.place(result)
    write_record(made.host.calls, made.timeline.tracks[1]["items"][0], {"clip": "another"})
    made.place(result)
    assert [track["name"] for track in made.timeline.tracks] == ["Video 1", "Colorized",
                                                                 "Colorized"]  # fmt: skip
    assert placed(made.timeline, 3) == [(10, 0, 12)]


def test_a_result_is_never_put_below_its_clip(result):
    made = Setup()
    made.place(result)
    upper = add_clip(made.timeline, str(footage()), at=60, left=0, count=12, track=3)
    clip = next(c for c in choose_clips(made.host, made.timeline, "all")[0] if c.item is upper)
    place_on_track(made.host, made.watch, clip, made.bring(result), made.notes)
    assert placed(made.timeline, 2) == [(10, 0, 12)]
    assert placed(made.timeline, 4) == [(60, 0, 12)]


def test_an_older_result_gives_way(result):
    made = Setup()
    first = made.place(result)
    second = made.place(result)
    assert placed(made.timeline, 2) == [(10, 0, 12)]
    assert made.timeline.tracks[1]["items"] == [second]
    assert first is not second


def test_an_older_result_comes_back_when_the_new_one_cannot_be_placed(result):
    made = Setup()
    made.place(result)
    media = made.bring(result)
    made.resolve.world.hiccups["AppendToTimeline"] = 2
    with pytest.raises(Refused, match="AppendToTimeline"):
        place_on_track(made.host, made.watch, made.clip, media, made.notes)
    assert placed(made.timeline, 2) == [(10, 0, 12)]


def test_an_item_placed_in_error_is_seen(result):
    made = Setup(Rules(append_lies=True))
    with pytest.raises(Refused, match="without a length"):
        made.place(result)
    assert placed(made.timeline, 2) == []


def test_an_item_that_vanishes_at_the_save_is_missed(result):
    made = Setup()
    media = made.bring(result)

    def vanish():
        made.timeline.tracks[1]["items"].clear()

    made.resolve.world.on_call["SaveProject"] = vanish
    with pytest.raises(Refused, match="vanished"):
        place_on_track(made.host, made.watch, made.clip, media, made.notes)


def test_a_placement_in_silence_is_found_and_not_repeated(result):
    made = Setup()
    made.resolve.world.lies["AppendToTimeline"] = 1
    made.place(result)
    assert placed(made.timeline, 2) == [(10, 0, 12)]


def test_a_take_is_added_selected_and_replaced(result):
    made = Setup()
    clip, media = made.clip, made.bring(result)
    for _ in range(2):
        place_as_take(made.host, clip, media, result)
        write_record(made.host.calls, clip.item, {"media": media.properties["File Path"]})
    assert clip.item.GetTakesCount() == 2
    assert clip.item.GetSelectedTakeIndex() == 2
    assert frame_of(clip.item.picture(START + 10, graded=False)) == 4
    assert frame_of(clip.item.picture(START + 21, graded=False)) == 15


def test_takes_of_the_user_stay(result):
    made = Setup()
    clip, media = made.clip, made.bring(result)
    clip.item.AddTake(clip.media, 2, 13)
    for _ in range(2):
        place_as_take(made.host, clip, media, result)
        write_record(made.host.calls, clip.item, {"media": media.properties["File Path"]})
    assert clip.item.GetTakesCount() == 3
    assert clip.item.takes[1][0] is clip.media


def test_a_loader_goes_before_media_out_and_is_not_doubled(result):
    made = Setup()
    made.resolve.OpenPage("edit")
    for _ in range(2):
        place_as_loader(made.host, made.clip, result)
    (comp,) = made.clip.item.comps
    assert sorted(comp.tools) == ["Loader1", "MediaIn1", "MediaOut1"]
    assert comp.tools["Loader1"].inputs["Clip"].endswith("out.000004.tif")
    assert comp.tools["MediaOut1"].inputs["Input"] is comp.tools["Loader1"]
    assert made.resolve.page == "edit"


# --- exemplars ---


@pytest.fixture(params=["source", "item"])
def origin(request):
    """Item markers count from the source's first frame; a build may count from the item's."""
    return request.param


def trim_head(item, frames, origin):
    """As an editor trims: content stays where it is on the timeline."""
    item.__dict__["start"] += frames
    item.__dict__["left"] += frames
    item.__dict__["duration"] -= frames
    if origin == "item":
        item.__dict__["markers"] = {k - frames: m for k, m in item.markers.items()}


def test_a_pin_is_found_again_after_the_clip_was_moved_and_trimmed(origin):
    made = Setup()
    pin_exemplar(made.host.calls, made.clip, Pin("/stills/a.png", 9))
    assert [pin.frame for pin in pins_of(made.host.calls, made.clip)] == [9]
    item = made.clip.item
    item.__dict__["start"] += 100
    assert [pin.frame for pin in pins_of(made.host.calls, made.clip)] == [9]
    trim_head(item, 3, origin)
    assert [pin.frame for pin in pins_of(made.host.calls, made.clip)] == [9]
    assert [pin.path for pin in pins_of(made.host.calls, made.clip)] == ["/stills/a.png"]


def test_a_marker_that_the_user_drags_takes_its_exemplar_along():
    made = Setup()
    pin_exemplar(made.host.calls, made.clip, Pin("/stills/a.png", 9))
    item = made.clip.item
    item.__dict__["markers"] = {key + 2: marker for key, marker in item.markers.items()}
    assert [pin.frame for pin in pins_of(made.host.calls, made.clip)] == [11]


def test_a_pin_beyond_the_ends_belongs_to_no_frame(origin):
    made = Setup()
    pin_exemplar(made.host.calls, made.clip, Pin("/stills/a.png", 5))
    trim_head(made.clip.item, 4, origin)
    assert [pin.frame for pin in pins_of(made.host.calls, made.clip)] == [None]


def test_a_frame_with_a_marker_of_the_user_still_takes_a_pin():
    made = Setup()
    made.clip.item.AddMarker(9, "Red", "mine", "", 1, "")
    pin_exemplar(made.host.calls, made.clip, Pin("/stills/a.png", 9))
    assert [pin.frame for pin in pins_of(made.host.calls, made.clip)] == [9]
    assert made.clip.item.markers[9.0]["name"] == "mine"


def test_a_second_exemplar_on_a_frame_replaces_the_first():
    made = Setup()
    for path in ("/stills/a.png", "/stills/b.png"):
        pin_exemplar(made.host.calls, made.clip, Pin(path, 9))
    pin_exemplar(made.host.calls, made.clip, Pin("/stills/c.png"))
    assert [(p.path, p.frame) for p in pins_of(made.host.calls, made.clip)] == [
        ("/stills/b.png", 9), ("/stills/c.png", None)]  # fmt: skip


def test_markers_of_others_are_left_alone():
    made = Setup()
    item = made.clip.item
    item.AddMarker(6, "Red", "other", "", 1, '{"colorize": broken')
    item.AddMarker(7, "Red", "other", "", 1, '{"colorize_me": 1}')
    pin_exemplar(made.host.calls, made.clip, Pin("/stills/a.png", 9))
    assert len(read_pins(made.host.calls, made.clip)) == 1
    assert remove_all(made.host.calls, item) == 1
    assert len(item.markers) == 2


def test_the_marker_holds_the_documented_json():
    made = Setup()
    pin_exemplar(made.host.calls, made.clip, Pin("/stills/a.png", 9))
    told = json.loads(made.clip.item.markers[9.0]["customData"])
    assert told["colorize"] == 1
    assert (told["path"], told["frame"]) == ("/stills/a.png", 9)
    assert told["id"]


def test_a_record_is_one_even_after_many_runs(result):
    made = Setup()
    item = made.place(result)
    for number in range(3):
        write_record(made.host.calls, item, {"clip": made.clip.uid, "key": str(number)})
    assert len(item.markers) == 1
    assert read_record(made.host.calls, item)["key"] == "2"
    assert find_result(made.host, made.timeline, made.clip.uid) == (2, item)
