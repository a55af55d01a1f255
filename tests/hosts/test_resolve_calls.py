"""Calls are never trusted, clips are found, and what can go wrong with Resolve is told."""

from __future__ import annotations

import pytest

pytest.importorskip("OpenImageIO")
pytest.importorskip("av")

import resolve_scene
from fake_resolve import Resolve, add_clip, add_transition
from fake_resolve_base import Rules, World
from resolve_scene import START, footage, host_of, scene

from host_plugins.resolve_host.calls import HostChanged, HostLost, Refused
from host_plugins.resolve_host.clips import choose_clips, read_again
from host_plugins.resolve_host.host import Watch, open_host
from host_plugins.wire.errors import BridgeError

honest = resolve_scene.honest


def test_one_none_is_tried_again():
    resolve, _ = scene()
    host = host_of(resolve)
    resolve.world.hiccups["GetCurrentTimeline"] = 1
    assert host.timeline() is resolve.manager.current.current
    assert resolve.world.calls["Project", "GetCurrentTimeline"] == 2


def test_a_retry_waits_a_moment():
    resolve, _ = scene()
    host = host_of(resolve)
    resolve.world.hiccups["GetCurrentTimeline"] = 1
    before = resolve.world.clock.now()
    host.timeline()
    assert resolve.world.clock.now() - before >= 0.5


def test_two_nones_are_an_error_with_the_calls_name_and_a_hint():
    resolve, _ = scene()
    host = host_of(resolve)
    resolve.world.hiccups["OpenPage"] = 2
    with pytest.raises(Refused, match="OpenPage") as caught:
        host.open_page("color")
    assert caught.value.call == "OpenPage"
    assert "dialog" in caught.value.hint


def test_work_that_was_done_all_the_same_is_not_done_twice():
    resolve, timeline = scene()
    host = host_of(resolve)
    resolve.world.lies["AddTrack"] = 1
    made = host.calls.must(timeline, "AddTrack", "video", done=lambda: len(timeline.tracks) == 2)
    assert made is True
    assert len(timeline.tracks) == 2


def test_zero_is_an_answer():
    resolve, _ = scene()
    host = host_of(resolve)
    item = resolve.manager.current.current.tracks[0]["items"][1]
    assert host.calls.must(item, "GetLeftOffset") == 0
    assert resolve.world.calls["TimelineItem", "GetLeftOffset"] == 1


def test_methods_that_a_version_lacks_are_seen_though_hasattr_says_otherwise():
    resolve, timeline = scene(Rules(missing=frozenset({"GetMarkInOut"})))
    host = host_of(resolve)
    assert hasattr(timeline, "GetMarkInOut")
    assert not host.calls.has(timeline, "GetMarkInOut")
    assert host.calls.get(timeline, "GetMarkInOut", default="none") == "none"
    with pytest.raises(Refused, match="no GetMarkInOut"):
        host.calls.ask(timeline, "GetMarkInOut")


def test_an_open_dialog_is_told_as_such():
    resolve, timeline = scene()
    host = host_of(resolve)
    resolve.world.modal = True
    with pytest.raises(Refused) as caught:
        host.calls.must(timeline, "GetName")
    assert "dialog" in caught.value.hint


def test_a_resolve_that_went_away_is_told_as_such():
    resolve, timeline = scene()
    host = host_of(resolve)
    resolve.world.lost = True
    with pytest.raises(HostLost):
        host.calls.must(timeline, "GetName")
    with pytest.raises(HostLost):
        host.calls.check_alive()


def test_a_wedged_start_is_seen_before_anything_is_done():
    resolve, _ = scene()
    resolve.manager.__dict__["wedged"] = True
    with pytest.raises(HostLost, match="stuck"):
        host_of(resolve)


@pytest.mark.parametrize("rules", [Rules(studio=False, version=(21, 1, 0)),
                                   Rules(version=(18, 1, 0))])  # fmt: skip
def test_an_unsupported_edition_is_refused_in_one_sentence(rules):
    resolve, _ = scene(rules)
    with pytest.raises(BridgeError) as caught:
        host_of(resolve)
    assert caught.value.code == "host_unsupported"
    assert "21.1" in caught.value.message or "18.1" in caught.value.message


def test_a_project_or_timeline_that_is_not_open_is_told():
    resolve = Resolve(World())
    resolve_scene.WORLDS.append(resolve.world)
    host = host_of(resolve)
    with pytest.raises(Refused) as caught:
        host.timeline()
    assert "Open a timeline" in caught.value.hint
    resolve.manager.CloseProject(resolve.manager.current)
    with pytest.raises(Refused) as caught:
        host.project()
    assert "Open a project" in caught.value.hint


def test_the_menu_needs_no_connection_from_outside():
    resolve, _ = scene()
    host = open_host({"resolve": resolve}, connect=lambda: None)
    assert host.resolve is resolve


# --- clips ---


def names(clips):
    return [(clip.track, clip.range.first - START, clip.range.count, clip.left) for clip in clips]


def choose(resolve, which):
    host = host_of(resolve)
    return choose_clips(host, host.timeline(), which)


def test_the_clip_at_the_playhead_is_read_in_absolute_and_source_frames():
    resolve, _ = scene()
    (clip,), notes = choose(resolve, "playhead")
    assert names([clip]) == [(1, 10, 12, 4)]  # the source's start, not GetSourceStartFrame
    assert (clip.first_index, clip.last_index) == (4, 15)
    assert clip.index_at(START + 13) == 7
    assert clip.frame_at(7) == START + 13
    assert clip.path == str(footage())
    assert notes == []


def test_transitions_and_titles_are_left_out_with_a_word():
    resolve, timeline = scene()
    add_transition(timeline, at=21, count=4)
    clips, notes = choose(resolve, "track:1")
    assert len(clips) == 2
    assert "no media" in notes[0]


def test_an_empty_track_holds_no_clips():
    resolve, timeline = scene()
    timeline.AddTrack("video")
    resolve.OpenPage("media")
    clips, _ = choose(resolve, "all")
    assert len(clips) == 2
    with pytest.raises(BridgeError, match="no clip"):
        choose(resolve, "track:2")
    with pytest.raises(BridgeError, match="no video track 7"):
        choose(resolve, "track:7")


def test_clips_of_one_color_are_found_on_all_tracks():
    resolve, timeline = scene()
    upper = add_clip(timeline, str(footage()), at=50, left=0, count=5, track=2)
    upper.SetClipColor("Pink")
    timeline.tracks[0]["items"][1].SetClipColor("Pink")
    clips, _ = choose(resolve, "color:Pink")
    assert names(clips) == [(1, 30, 8, 0), (2, 50, 5, 0)]
    with pytest.raises(BridgeError, match="Sky"):
        choose(resolve, "color:Sky")  # a marker color


def test_selected_clips_are_taken_where_the_version_tells_them():
    resolve, timeline = scene()
    timeline.selected.append(timeline.tracks[0]["items"][1])
    clips, notes = choose(resolve, "selected")
    assert names(clips) == [(1, 30, 8, 0)]
    assert notes == []


def test_older_versions_take_the_clip_at_the_playhead_and_say_so():
    resolve, timeline = scene(Rules(missing=frozenset({"GetSelectedClips"})))
    timeline.selected.append(timeline.tracks[0]["items"][1])
    clips, notes = choose(resolve, "selected")
    assert names(clips) == [(1, 10, 12, 4)]
    assert "no selection" in notes[0]


def test_the_track_is_found_where_the_version_does_not_tell_it():
    resolve, timeline = scene(Rules(missing=frozenset({"GetTrackTypeAndIndex"})))
    add_clip(timeline, str(footage()), at=10, left=0, count=12, track=2)
    (clip,), _ = choose(resolve, "playhead")
    assert clip.track == 2


def test_our_own_result_above_is_never_taken_for_the_clip():
    resolve, timeline = scene()
    add_clip(timeline, str(footage()), at=10, left=0, count=12, track=2)
    timeline.tracks[1]["name"] = "Colorized"
    (clip,), _ = choose(resolve, "playhead")
    assert clip.track == 1
    assert [c.track for c in choose(resolve, "all")[0]] == [1, 1]


def test_a_moved_clip_is_followed_and_a_trimmed_one_is_not():
    resolve, timeline = scene()
    host = host_of(resolve)
    (clip,), _ = choose_clips(host, timeline, "playhead")
    item = timeline.tracks[0]["items"][0]
    item.__dict__["start"] += 5
    assert read_again(host, timeline, clip).range.first == START + 15
    item.__dict__["left"] += 1
    with pytest.raises(HostChanged, match="trimmed"):
        read_again(host, timeline, clip)
    timeline.DeleteClips([item])
    with pytest.raises(HostChanged, match="not on the timeline"):
        read_again(host, timeline, clip)


def test_the_watch_notices_a_closed_project_and_a_deleted_timeline():
    resolve, timeline = scene()
    host = host_of(resolve)
    watch = Watch(host)
    watch.check()
    project = resolve.manager.current
    project.new_timeline("Another")
    watch.check()  # looking at another timeline is allowed
    project.drop_timelines([timeline])
    with pytest.raises(HostChanged, match="timeline was deleted"):
        watch.check()
    resolve.manager.CreateProject("Other")
    with pytest.raises(HostChanged, match="Another project"):
        watch.check()
    resolve.manager.CloseProject(resolve.manager.current)
    with pytest.raises(HostChanged, match="closed"):
        watch.check()


def test_a_project_without_a_name_is_never_saved():
    resolve = Resolve(World(rules=Rules(headless=True)))
    resolve_scene.WORLDS.append(resolve.world)
    assert host_of(resolve).save() is False  # else the double would block for ever
    resolve, _ = scene(Rules(headless=True))
    assert host_of(resolve).save() is True
