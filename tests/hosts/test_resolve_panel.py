"""The window in Resolve: drawn from the description, honest about its edition, never stuck."""

from __future__ import annotations

import tempfile

import pytest

pytest.importorskip("OpenImageIO")
pytest.importorskip("av")

import resolve_scene
from fake_resolve_base import Rules
from fake_resolve_ui import Bmd, Fusion
from resolve_scene import FakeService, descriptor, exemplar, placed, scene

from host_plugins.host_layer import Panel, Pin
from host_plugins.resolve_host import widgets
from host_plugins.resolve_host.clips import choose_clips
from host_plugins.resolve_host.host import ResolveHost, open_host
from host_plugins.resolve_host.markers import pin_exemplar, pins_of
from host_plugins.resolve_host.menu import main
from host_plugins.resolve_host.options import Options, load_preset, save_preset
from host_plugins.resolve_host.panel_window import ui_of

honest = resolve_scene.honest


class User:
    """Plays the steps one by one: each is called before every tick until it returns true."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.window = None

    def __call__(self, dispatcher):
        self.window = dispatcher.window
        if not self.steps:
            self.window.fire(self.window.ID, "Close")
        elif self.steps[0](self.window, self.window.GetItems()) is not False:
            self.steps.pop(0)


def click(name):
    def step(window, items):
        window.click(name)

    return step


def idle(window, items):
    return bool(items["colorize"].Enabled)


class Opened:
    def __init__(self, tmp_path, *steps, rules=None, files=()):
        self.resolve, self.timeline = scene(rules)
        self.user = User(*steps)
        self.fusion = Fusion(self.resolve.world, list(files))
        clock = self.resolve.world.clock
        self.host = open_host(
            {"resolve": self.resolve, "fusion": self.fusion, "bmd": Bmd(self.user)},
            sleep=clock.sleep, now=clock.now,
        )  # fmt: skip
        self.service = FakeService(tmp_path)
        self.said = []

    def pin(self, tmp_path, frame=6):
        clip = choose_clips(self.host, self.timeline, "playhead")[0][0]
        pin_exemplar(self.host.calls, clip, Pin(str(exemplar(tmp_path)), frame))

    def run(self):
        return main({}, say=self.said.append, host=self.host, service=self.service)


def test_every_kind_of_parameter_is_drawn_filled_and_read(tmp_path):
    opened = Opened(tmp_path)
    panel = Panel.from_descriptor(descriptor("starter"))
    opened.run()
    items = opened.user.window.GetItems()
    kinds = {name: items["param_" + name].kind for name in
             ("strength", "size", "soft", "gamut", "input_space", "table")}  # fmt: skip
    assert kinds == {
        "strength": "LineEdit", "size": "SpinBox", "soft": "CheckBox", "gamut": "ComboBox",
        "input_space": "LineEdit", "table": "LineEdit",
    }  # fmt: skip
    assert (items["param_size"].Minimum, items["param_size"].Maximum) == (64, 4096)
    assert items["param_strength_slider"].Maximum == 1000
    assert items["param_table_browse"].kind == "Button"
    assert items["param_gamut"].Items == ["Clip", "None"]
    assert items["notice"].Text == "Made by tests."
    assert widgets.read(items, panel) == panel.values({})
    values = panel.values({"strength": 0.25, "size": 100, "soft": True, "gamut": "none"})
    widgets.fill(items, panel, values)
    assert widgets.read(items, panel) == values


def test_sliders_and_numbers_follow_each_other(tmp_path):
    def slide(window, items):
        items["param_strength_slider"].Value = 750

    def write(window, items):
        assert items["param_strength"].Text == "1.5"
        items["param_strength"].Text = "0,5"
        window.fire("param_strength", "EditingFinished")

    def look(window, items):
        assert items["param_strength_slider"].Value == 250
        assert items["param_strength"].Text == "0.5"

    Opened(tmp_path, slide, write, look).run()


def test_a_value_beyond_the_slider_stays_what_was_written(tmp_path):
    def write(window, items):
        items["param_strength"].Text = "2.5"
        window.fire("param_strength", "EditingFinished")

    def look(window, items):
        assert items["param_strength"].Text == "2.5"
        assert items["param_strength_slider"].Value == 1000

    Opened(tmp_path, write, look).run()


def test_a_control_that_hangs_on_another_is_greyed_out(tmp_path):
    def before(window, items):
        assert items["param_radius"].Enabled is False
        items["param_soft"].Checked = True
        window.click("param_soft")

    def after(window, items):
        assert items["param_radius"].Enabled is True

    Opened(tmp_path, before, after).run()


def test_another_effect_brings_its_own_widgets(tmp_path):
    def change(window, items):
        items["effect"].CurrentIndex = 1

    def look(window, items):
        texts = [element.Text for element in window.elements if element.kind == "Label"]
        assert "Memory strength" in texts

    opened = Opened(tmp_path, change, look)
    opened.run()
    assert len(opened.fusion.manager.windows) == 2
    assert not any(window.shown for window in opened.fusion.manager.windows)


def test_the_menu_opens_a_living_window_each_time_and_only_one_at_a_time(tmp_path):
    def again(window, items):
        assert opened.run() is True  # the menu, while the window is open: it is shown again
        assert len(opened.fusion.manager.windows) == 1

    opened = Opened(tmp_path, again)
    opened.run()
    assert opened.run() is True
    first, second = opened.fusion.manager.windows
    assert first.ID != second.ID
    assert not first.shown


def test_a_file_is_pinned_to_the_frame_at_the_playhead(tmp_path):
    path = str(exemplar(tmp_path))
    opened = Opened(tmp_path, click("pin"), idle, files=[path])
    opened.run()
    clip = choose_clips(opened.host, opened.timeline, "playhead")[0][0]
    assert [(p.path, p.frame) for p in pins_of(opened.host.calls, clip)] == [(path, 6)]
    items = opened.user.window.GetItems()
    assert items["exemplars"].Items == ["frame 6: exemplar.png"]


def pin_a_still(window, items):
    items["source"].CurrentIndex = 1
    window.click("pin")


def test_the_frame_at_the_playhead_becomes_an_exemplar_and_goes_again(tmp_path):
    def look(window, items):
        assert "frame 6" in items["exemplars"].Items[0]

    opened = Opened(tmp_path, pin_a_still, idle, look, click("remove"))
    opened.run()
    clip = choose_clips(opened.host, opened.timeline, "playhead")[0][0]
    assert len(pins_of(opened.host.calls, clip)) == 0
    assert opened.resolve.page == "edit"


def test_a_preview_shows_after_and_by_a_click_before(tmp_path):
    seen = []

    def look(window, items):
        seen.append((items["picture"].Text, items["picture"].Icon["File"]))

    opened = Opened(tmp_path, click("preview"), idle, look, click("picture"), look)
    opened.pin(tmp_path)
    opened.run()
    assert [text for text, _ in seen] == ["After", "Before"]
    assert "after." in seen[0][1]
    assert "before." in seen[1][1]


def test_a_run_places_the_result_and_tells_how_far_it_is(tmp_path):
    seen = []

    def watch(window, items):
        seen.append(items["status"].Text)
        return idle(window, items)

    opened = Opened(tmp_path, click("colorize"), watch, click("colorize"), watch)
    opened.pin(tmp_path)
    assert opened.run() is True
    assert placed(opened.timeline, 2) == [(10, 0, 12)]
    told = " ".join(seen)
    assert "Rendering the plate 8 of 12" in told
    assert "Coloring" in told
    assert seen[-1].startswith("shot.mov: unchanged")


def test_cancel_is_heard_while_it_runs_and_puts_everything_back(tmp_path):
    def rendering(window, items):
        return "Rendering" in items["status"].Text

    def look(window, items):
        assert "Cancelled" in items["status"].Text
        assert items["cancel"].Enabled is False

    opened = Opened(tmp_path, click("colorize"), rendering, click("cancel"), look)
    opened.pin(tmp_path)
    opened.run()
    assert opened.resolve.manager.current.jobs == {}
    assert opened.resolve.page == "edit"
    assert len(opened.timeline.tracks) == 1


def test_closing_the_window_cancels(tmp_path):
    def rendering(window, items):
        return "Rendering" in items["status"].Text

    opened = Opened(tmp_path, click("colorize"), rendering)
    opened.pin(tmp_path)
    opened.run()
    assert opened.resolve.manager.current.jobs == {}
    assert opened.resolve.page == "edit"


def test_errors_become_the_status_line(tmp_path):
    seen = []

    def look(window, items):
        if idle(window, items):
            seen.append(items["status"].Text)
            return True
        return False

    def combine(window, items):
        items["place"].CurrentIndex = 1  # a take of a graded plate

    opened = Opened(tmp_path, click("colorize"), look, combine, click("colorize"), look)
    opened.run()
    assert "exemplar" in seen[0]
    assert "graded twice" in seen[1]


def test_a_fault_of_our_own_is_told_and_the_window_lives_on(tmp_path):
    seen = []

    def look(window, items):
        if idle(window, items):
            seen.append(items["status"].Text)
            return True
        return False

    opened = Opened(tmp_path, click("colorize"), look, click("colorize"), look)
    opened.pin(tmp_path)
    opened.service.start = None
    opened.run()
    assert len(seen) == 2
    assert "fault of its own" in seen[1]
    assert opened.resolve.page == "edit"


def test_the_window_keeps_its_settings_as_the_preset_of_the_menu(tmp_path):
    def choose(window, items):
        items["param_size"].Value = 256
        items["clips"].CurrentIndex = items["clips"].Items.index("track 1")

    save_preset(Options(folder=str(tmp_path / "results")))
    opened = Opened(tmp_path, choose, click("colorize"), idle)
    opened.pin(tmp_path)
    opened.run()
    kept = load_preset()
    assert (kept.clips, kept.values["size"]) == ("track:1", 256)
    assert kept.folder == str(tmp_path / "results")


# --- where no window may open ---


def preset(tmp_path, **more):
    pins = (Pin(str(exemplar(tmp_path)), 6),)
    save_preset(Options(exemplars=pins, folder=str(tmp_path / "results"), **more))


@pytest.mark.parametrize("version", [(19, 1, 0), (21, 0, 4)])
def test_the_free_edition_is_never_asked_for_a_window(tmp_path, version):
    preset(tmp_path)
    opened = Opened(tmp_path, rules=Rules(studio=False, version=version))
    assert opened.run() is True
    assert opened.resolve.world.modal is False
    assert opened.fusion.manager.windows == []
    assert placed(opened.timeline, 2) == [(10, 0, 12)]
    assert "own windows" in opened.said[0]
    assert any("placed" in line for line in opened.said)


def test_a_uimanager_that_is_none_ends_in_the_preset_too(tmp_path):
    preset(tmp_path, clips="track:1")
    opened = Opened(tmp_path)
    host = ResolveHost(opened.resolve, opened.host.calls, opened.host.edition)
    assert ui_of(host) is None
    opened.host = host
    assert opened.run() is True
    assert len(placed(opened.timeline, 2)) == 2


def test_a_uimanager_that_must_be_called_is_called(tmp_path):
    opened = Opened(tmp_path)
    manager = opened.fusion.manager

    class Callable:
        UIManager = staticmethod(lambda: manager)

    host = ResolveHost(opened.resolve, opened.host.calls, opened.host.edition, Callable, "bmd")
    assert ui_of(host) is manager


def test_old_free_editions_have_windows(tmp_path):
    opened = Opened(tmp_path, rules=Rules(studio=False, version=(18, 6, 0)))
    opened.run()
    assert len(opened.fusion.manager.windows) == 1


def test_a_closed_window_leaves_no_preview_folder_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen = []

    def look(window, items):
        seen.extend(tmp_path.glob("chromabridge-preview-*"))

    Opened(tmp_path, look).run()
    assert len(seen) == 1
    assert not seen[0].exists()


def test_the_menu_never_raises(tmp_path):
    opened = Opened(tmp_path, rules=Rules(studio=False))
    assert opened.run() is False  # no exemplar
    assert any("exemplar" in line for line in opened.said)
    opened.resolve.world.lost = True
    said = []
    assert main({"resolve": opened.resolve}, say=said.append) is False
    assert "does not answer" in said[0]
    opened.resolve.world.lost = False
