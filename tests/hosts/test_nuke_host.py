"""ColorBridge in the fake Nuke: made, run, undone, cancelled, saved and opened without us."""

from __future__ import annotations

import ast
import importlib
import inspect
import runpy
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_nuke
import numpy as np
import pytest
from fake_bridge import DESCRIPTOR, FakeBridge
from fake_nuke import API, FakeNuke, Node

from host_plugins.host_layer import Pin, Service, Settings

PLUGIN = Path(__file__).parents[2] / "host_plugins" / "nuke_host"


@pytest.fixture
def nuke() -> Iterator[FakeNuke]:
    with fake_nuke.installed(FakeNuke()) as module:
        yield module


@pytest.fixture
def bridge() -> FakeBridge:
    fake = FakeBridge()
    fake.echo = fake.running = True
    return fake


@pytest.fixture
def buttons(nuke: FakeNuke, bridge: FakeBridge, tmp_path: Path) -> Any:
    """The plugin, wired to the fake server; its panel is known."""
    return wired(bridge.connect, tmp_path)


def wired(connect: Any, tmp_path: Path) -> Any:
    module = importlib.import_module("host_plugins.nuke_host.buttons")
    settings = Settings(cache=str(tmp_path / "cache"), effect="starter")
    service = Service(settings, name="nuke", version="16.0v3", connect=connect)
    service.panel("starter").result()
    setattr(module, "service", lambda: service)  # noqa: B010 (mypy sees no module here)
    return module


def scene(nuke: FakeNuke, clip: Path, *, touched: bool = True) -> Node:
    """Read -> Multiply 2 -> ColorBridge, or an untouched Read; the still is on Exemplar."""
    buttons = importlib.import_module("host_plugins.nuke_host.buttons")
    read = nuke.createNode("Read")
    read["file"].setValue(str(clip / "bw.%04d.png"))
    read["first"].setValue(1001)
    read["last"].setValue(1010)
    read["colorspace"].setValue("sRGB")
    source = read
    if touched:
        source = nuke.createNode("Multiply")
        source["value"].setValue(2.0)
    still = nuke.createNode("Read")
    still["file"].setValue(str(clip / "still.png"))
    node: Node = buttons.create()
    node.setInput(0, source)
    node.setInput(1, still)
    nuke._frame = 1001
    nuke._undo.clear()
    return node


def press(nuke: FakeNuke, node: Node, action: str) -> None:
    """As if an artist pressed the button."""
    node["cb_" + action].execute()  # type: ignore[attr-defined]


def run_to_end(nuke: FakeNuke, node: Node) -> float:
    runs = importlib.import_module("host_plugins.nuke_host.runs")
    return nuke._pump(lambda: runs.running(node) is None)


def pin(node: Node, clip: Path) -> None:
    group = importlib.import_module("host_plugins.nuke_host.group")
    pins = group.pins(node)
    pins.add(Pin(str(clip / "still.png"), 1001))
    group.set_pins(node, pins)


# --- the API ---


def test_every_call_of_ours_is_in_nukes_api() -> None:
    known = set(API["functions"]) | set(API["classes"]) | set(API["constants"]) | {"env"}
    methods = {name for _, names in API["classes"].values() for name in names}
    for path in PLUGIN.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for found in ast.walk(tree):
            if isinstance(found, ast.Call) and isinstance(found.func, ast.Attribute):
                arguments = set(API["functions"].get(found.func.attr, ())) | {"icon"}
                if isinstance(found.func.value, ast.Name) and found.func.value.id == "nuke":
                    assert {word.arg for word in found.keywords} <= arguments, path.name
            if isinstance(found, ast.Attribute) and isinstance(found.value, ast.Name):
                if found.value.id == "nuke":
                    assert found.attr in known, f"{path.name}: nuke.{found.attr}"
                if found.value.id in ("node", "read", "write", "knob", "follower", "result"):
                    assert found.attr in methods, f"{path.name}: {found.value.id}.{found.attr}"


def test_the_double_has_no_call_that_nuke_lacks() -> None:
    for name in vars(FakeNuke):
        if not name.startswith("_"):
            assert name in API["functions"], name
    for name, (bases, methods) in API["classes"].items():
        cls = getattr(fake_nuke, name, None)
        if not inspect.isclass(cls):
            continue
        known = set(methods)
        while bases and bases[0] in API["classes"]:
            bases, more = API["classes"][bases[0]]
            known |= set(more)
        for method in vars(cls):
            assert method.startswith("_") or method in known | {"default", "cancel_all", "shown"}, (
                f"{name}.{method}"
            )


# --- the node ---


def test_the_node_has_knobs_for_the_whole_descriptor(nuke: FakeNuke, buttons: Any) -> None:
    node = buttons.create()
    for param in DESCRIPTOR["params"]:
        knob = node["p_" + param["name"]]
        assert knob.tooltip() == param["hint"]
        assert knob.label() == param["label"]
    assert node["p_precision"].values() == ["Automatic", "Full"]
    assert node["p_saturation"].value() == 1.0
    assert not node["p_seed"].visible()
    names = list(node.knobs())
    assert names.index("group_main") < names.index("p_saturation") < names.index("group_main_end")


def test_rules_of_the_descriptor_grey_knobs_out(nuke: FakeNuke, buttons: Any) -> None:
    node = buttons.create()
    assert node["p_blend_weight"].enabled()
    node["p_blend"].setValue(False)
    assert not node["p_blend_weight"].enabled()


def test_creating_is_one_step_of_undo_and_keeps_indies_limit(nuke: FakeNuke, buttons: Any) -> None:
    nuke.createNode("Read")
    nuke._undo.clear()
    node = buttons.create()
    assert len(nuke._undo) == 1
    assert len(node.nodes()) <= 10
    assert nuke._undo_one() == "Create ColorBridge"
    assert nuke.toNode("ColorBridge1") is None


def test_without_a_server_the_node_says_so_and_offers_to_start_one(
    nuke: FakeNuke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("host_plugins.host_layer.service.START_S", 0.5)
    bridge = FakeBridge()
    module = importlib.import_module("host_plugins.nuke_host.buttons")
    settings = Settings(cache=str(tmp_path / "cache"), effect="starter")
    starts: list[bool] = []

    def connect(*, start: bool, **how: Any) -> Any:
        starts.append(start)
        return bridge.connect(start=start and len(starts) > 1)

    service = Service(settings, name="nuke", version="1", connect=connect)
    setattr(module, "service", lambda: service)  # noqa: B010
    node = module.create()
    nuke._pump(lambda: "not running" in node["cb_status"].value())
    assert node["cb_start_server"].visible()
    press(nuke, node, "start_server")
    nuke._pump(lambda: node.knob("p_saturation") is not None)
    assert not node["cb_start_server"].visible()
    assert starts[-1]


def finish_tasks() -> None:
    """Wait for what the host layer asked in the background."""
    for thread in threading.enumerate():
        if thread.name == "chromabridge-task":
            thread.join(timeout=10)


def test_a_newer_effect_offers_an_update_that_keeps_values(
    nuke: FakeNuke, buttons: Any, bridge: FakeBridge
) -> None:
    node = buttons.create()
    finish_tasks()  # the new node's own question would bring the older answer after the newer one
    node["p_saturation"].setValue(0.5)
    newer = {**DESCRIPTOR, "version": [1, 1]}
    newer["params"] = [*DESCRIPTOR["params"], {
        "name": "grain", "kind": "double", "label": "Grain", "hint": "", "default": 0.0,
        "low": 0.0, "high": 1.0, "group": "main"}]  # fmt: skip
    bridge.descriptor = newer
    buttons.service().panel("starter").result()
    node["p_blend"].setValue(False)
    assert node["cb_update"].visible()
    nuke._undo.clear()
    press(nuke, node, "update")
    assert node["p_grain"].value() == 0.0
    assert node["p_saturation"].value() == 0.5
    assert not node["cb_update"].visible()
    assert len(nuke._undo) == 1


# --- running ---


def test_a_render_goes_frame_by_frame_to_the_server_and_comes_back(
    nuke: FakeNuke, buttons: Any, bridge: FakeBridge, clip: Path
) -> None:
    node = scene(nuke, clip)
    before = {i: nuke._image(node, i, "main") for i in (1001, 1010)}
    press(nuke, node, "add")
    press(nuke, node, "run")
    longest = run_to_end(nuke, node)
    assert node["cb_status"].value() == "Done: 10 frames."
    assert [e for e in nuke._executed if e[0] == "PLATE"] == [
        ("PLATE", 1001, 1008), ("PLATE", 1009, 1010)]  # fmt: skip
    assert node["cb_show"].value() == "result"
    for index, truth in before.items():
        assert truth.max() > 1  # over-range values are in the plate, and came back
        assert np.array_equal(nuke._image(node, index, "main"), truth.astype(np.float16))
    assert longest < 0.05  # the main thread's own work between Nuke's events, in CPU seconds
    assert fake_nuke.ProgressTask.shown == sorted(fake_nuke.ProgressTask.shown)
    assert node["cb_report_page"].value().endswith("report.html")


def test_an_untouched_read_sends_its_files_and_renders_nothing(
    nuke: FakeNuke, buttons: Any, bridge: FakeBridge, clip: Path
) -> None:
    node = scene(nuke, clip, touched=False)
    pin(node, clip)
    press(nuke, node, "run")
    run_to_end(nuke, node)
    assert nuke._executed == []
    assert node.node("RESULT")["colorspace"].value() == "sRGB"
    assert not node.node("RESULT")["raw"].value()
    assert bridge.served == 10


@pytest.mark.parametrize(
    ("knob", "value"),
    [("colorspace", "AlexaV3LogC"), ("frame", "frame-10"), ("premultiplied", True), ("raw", True),
     ("colorspace", "default (sRGB)")],
)  # fmt: skip
def test_a_read_that_changes_its_pictures_is_rendered(
    nuke: FakeNuke, buttons: Any, clip: Path, knob: str, value: Any
) -> None:
    plan = importlib.import_module("host_plugins.nuke_host.plan")
    node = scene(nuke, clip, touched=False)
    assert plan.untouched_read(node) is not None
    node.input(0)[knob].setValue(value)  # type: ignore[index]
    assert plan.untouched_read(node) is None


def test_the_second_run_computes_nothing(
    nuke: FakeNuke, buttons: Any, bridge: FakeBridge, clip: Path
) -> None:
    node = scene(nuke, clip)
    press(nuke, node, "add")
    press(nuke, node, "run")
    run_to_end(nuke, node)
    served = bridge.served
    time.sleep(0.01)  # the render time in the EXR headers differs now
    press(nuke, node, "run")
    run_to_end(nuke, node)
    assert bridge.served == served
    assert "10 of them kept" in node["cb_status"].value()


def test_a_colorized_range_is_one_step_of_undo(nuke: FakeNuke, buttons: Any, clip: Path) -> None:
    node = scene(nuke, clip)
    pin(node, clip)
    before = nuke._image(node, 1005, "main")
    nuke._undo.clear()
    press(nuke, node, "run")
    run_to_end(nuke, node)
    assert [name for name, _ in nuke._undo] == ["Colorize"]
    nuke._undo_one()
    assert node["cb_show"].value() == "source"
    assert node.node("RESULT")["file"].value() == ""
    assert np.array_equal(nuke._image(node, 1005, "main"), before)


def test_preview_colors_one_frame_and_leaves_the_result_alone(
    nuke: FakeNuke, buttons: Any, bridge: FakeBridge, clip: Path
) -> None:
    node = scene(nuke, clip)
    pin(node, clip)
    nuke._frame = 1004
    press(nuke, node, "preview")
    run_to_end(nuke, node)
    assert nuke._executed == [("PLATE", 1004, 1004)]
    assert node["cb_show"].value() == "preview"
    assert node.node("RESULT")["file"].value() == ""
    assert nuke._image(node, 1004, "main").shape == (60, 106, 3)


def test_a_cancelled_render_keeps_the_frames_before(
    nuke: FakeNuke, buttons: Any, bridge: FakeBridge, clip: Path
) -> None:
    node = scene(nuke, clip)
    pin(node, clip)
    nuke._cancel_at = 1006
    press(nuke, node, "run")
    run_to_end(nuke, node)
    assert node["cb_status"].value().startswith("Cancelled")
    assert node.node("RESULT")["last"].value() == 1005
    assert bridge.served == 5
    nuke._cancel_at = None
    press(nuke, node, "run")
    run_to_end(nuke, node)
    assert "Done: 10 frames, 5 of them kept" in node["cb_status"].value()


def test_the_cancel_button_stops_a_run(
    nuke: FakeNuke, buttons: Any, bridge: FakeBridge, clip: Path
) -> None:
    import threading

    bridge.gate = threading.Event()
    node = scene(nuke, clip)
    pin(node, clip)
    press(nuke, node, "run")
    nuke._pump(lambda: bool(bridge.opened))
    press(nuke, node, "cancel")
    run_to_end(nuke, node)
    assert node["cb_status"].value().startswith("Cancelled")


def test_cancel_in_the_progress_bar_stops_a_run(
    nuke: FakeNuke, buttons: Any, bridge: FakeBridge, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = scene(nuke, clip)
    pin(node, clip)
    monkeypatch.setattr(fake_nuke.ProgressTask, "cancel_all", True)
    press(nuke, node, "run")
    run_to_end(nuke, node)
    assert node["cb_status"].value().startswith("Cancelled")


def test_nuke_being_busy_only_delays_the_render(nuke: FakeNuke, buttons: Any, clip: Path) -> None:
    node = scene(nuke, clip)
    pin(node, clip)
    nuke._executing = True
    press(nuke, node, "run")
    until = time.monotonic() + 0.3
    nuke._pump(lambda: time.monotonic() > until)
    assert nuke._executed == []
    nuke._executing = False
    run_to_end(nuke, node)
    assert node["cb_status"].value() == "Done: 10 frames."


def test_a_render_that_fails_is_told_in_words(nuke: FakeNuke, buttons: Any, clip: Path) -> None:
    node = scene(nuke, clip)
    pin(node, clip)
    nuke.toNode("Multiply1").setInput(0, None)  # type: ignore[union-attr]
    node["cb_range"].setValue("project")
    press(nuke, node, "run")
    run_to_end(nuke, node)
    assert "missing" in node["cb_status"].value()


def test_deleting_the_node_ends_its_run(nuke: FakeNuke, buttons: Any, clip: Path) -> None:
    runs = importlib.import_module("host_plugins.nuke_host.runs")
    node = scene(nuke, clip)
    pin(node, clip)
    press(nuke, node, "run")
    job = runs.running(node).job
    nuke.delete(node)
    nuke._pump(lambda: job.ended and not runs._running)


def test_proxy_mode_is_left_and_restored(nuke: FakeNuke, buttons: Any, clip: Path) -> None:
    node = scene(nuke, clip)
    pin(node, clip)
    nuke.root()["proxy"].setValue(True)
    press(nuke, node, "run")
    run_to_end(nuke, node)
    assert nuke.root()["proxy"].value() is True
    assert nuke._image(node, 1001, "main").shape == (60, 106, 3)


def test_both_views_are_colored_with_the_same_exemplars(
    bridge: FakeBridge, clip: Path, tmp_path: Path
) -> None:
    with fake_nuke.installed(FakeNuke(views=("left", "right"))) as nuke:
        wired(bridge.connect, tmp_path)
        node = scene(nuke, clip)
        pin(node, clip)
        node["cb_views"].setValue("left right")
        press(nuke, node, "run")
        run_to_end(nuke, node)
        assert bridge.served == 10  # the views are alike here: the second came from the cache
        for view in ("left", "right"):
            assert nuke._image(node, 1010, view).shape == (60, 106, 3)


def test_an_ocio_projects_working_space_travels_by_name(
    nuke: FakeNuke, buttons: Any, bridge: FakeBridge, clip: Path
) -> None:
    space = {"name": "input_space", "kind": "string", "label": "Space", "hint": "",
             "default": "", "group": "main"}  # fmt: skip
    bridge.descriptor = {**DESCRIPTOR, "params": [*DESCRIPTOR["params"], space]}
    buttons.service().panel("starter").result()
    nuke.root()["colorManagement"].setValue("OCIO")
    nuke.root()["workingSpaceLUT"].setValue("scene_linear (ACES - ACEScg)")
    node = scene(nuke, clip)
    pin(node, clip)
    press(nuke, node, "run")
    run_to_end(nuke, node)
    assert bridge.opened[-1]["parameters"]["input_space"] == "scene_linear"


def test_exemplars_are_listed_found_and_deleted(nuke: FakeNuke, buttons: Any, clip: Path) -> None:
    node = scene(nuke, clip)
    press(nuke, node, "add")
    nuke._frame, nuke._filename = 1007, str(clip / "still.png")
    press(nuke, node, "add_file")
    assert node["cb_list"].values() == [
        "frame 1001: exemplar.001001.png", "frame 1007: still.png"]  # fmt: skip
    assert "still.png" in node["cb_thumbnail"].value()
    node["cb_list"].setValue("frame 1001: exemplar.001001.png")
    assert "exemplar.001001.png" in node["cb_thumbnail"].value()
    press(nuke, node, "goto")
    assert nuke.frame() == 1001
    press(nuke, node, "delete")
    assert node["cb_list"].values() == ["frame 1007: still.png"]


def test_mistakes_are_told_before_anything_starts(
    nuke: FakeNuke, buttons: Any, bridge: FakeBridge, clip: Path
) -> None:
    node = scene(nuke, clip)
    press(nuke, node, "run")
    assert "no exemplar yet" in nuke._messages[-1]
    pin(node, clip)
    node["cb_range"].setValue("custom")
    node["cb_first"].setValue(9)
    press(nuke, node, "run")
    assert "empty" in nuke._messages[-1]
    node["cb_views"].setValue("left")
    node["cb_range"].setValue("input")
    press(nuke, node, "run")
    assert "left" in nuke._messages[-1]
    node.setInput(0, None)
    press(nuke, node, "run")
    assert "Source" in nuke._messages[-1]
    assert bridge.opened == []
    press(nuke, node, "report")
    assert "no report" in nuke._messages[-1]


# --- without us ---


def test_a_script_opens_and_shows_its_result_without_plugin_or_server(
    nuke: FakeNuke, buttons: Any, clip: Path, tmp_path: Path
) -> None:
    node = scene(nuke, clip)
    pin(node, clip)
    press(nuke, node, "run")
    run_to_end(nuke, node)
    expected = nuke._image(node, 1003, "main")
    nuke.scriptSave(str(tmp_path / "shot.nk"))
    bare = FakeNuke()
    bare.scriptOpen(str(tmp_path / "shot.nk"))
    opened = bare.toNode("ColorBridge1")
    assert np.array_equal(bare._image(opened, 1003, "main"), expected)
    opened["cb_show"].setValue("source")  # type: ignore[index]
    source = bare._image(opened, 1003, "main")
    assert np.array_equal(source.astype(np.float16), expected)  # what our fake server gave back


def test_buttons_of_a_script_say_when_the_plugin_is_not_there(
    nuke: FakeNuke, buttons: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    node = buttons.create()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    press(nuke, node, "run")
    assert "not installed here" in nuke._messages[-1]
    node["p_blend"].setValue(False)


def test_bake_leaves_a_read_in_the_nodes_place(nuke: FakeNuke, buttons: Any, clip: Path) -> None:
    node = scene(nuke, clip)
    press(nuke, node, "bake")
    assert "no result" in nuke._messages[-1]
    pin(node, clip)
    press(nuke, node, "run")
    run_to_end(nuke, node)
    expected = nuke._image(node, 1002, "main")
    after = nuke.createNode("Dot")
    after.setInput(0, node)
    nuke._undo.clear()
    press(nuke, node, "bake")
    assert nuke.toNode("ColorBridge1") is None
    assert after.input(0).Class() == "Read"  # type: ignore[union-attr]
    assert np.array_equal(nuke._image(after, 1002, "main"), expected)
    assert len(nuke._undo) == 1


def test_start_up_makes_the_plugin_importable_and_fills_the_menu(
    nuke: FakeNuke, buttons: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", list(sys.path))
    runpy.run_path(str(PLUGIN / "startup" / "init.py"))
    assert sys.path[-1] == str(PLUGIN / "startup")  # behind all of Nuke's own
    runpy.run_path(str(PLUGIN / "startup" / "menu.py"))
    entry = nuke.menu("Nodes")._commands["ChromaBridge"]._commands["ColorBridge"]
    entry()
    assert nuke.toNode("ColorBridge1") is not None
    assert (PLUGIN / "startup" / nuke._paths[0] / "colorbridge.png").is_file()


# --- the farm ---


@pytest.fixture
def farm(bridge: FakeBridge, clip: Path, tmp_path: Path) -> Iterator[tuple[Any, Path]]:
    """The farm entry in a Nuke without a GUI, and a saved script."""
    with fake_nuke.installed(FakeNuke(gui=False)) as nuke:
        wired(bridge.connect, tmp_path)
        pin(scene(nuke, clip), clip)
        nuke.scriptSave(str(tmp_path / "shot.nk"))
        yield importlib.import_module("host_plugins.nuke_host.farm"), tmp_path / "shot.nk"


def test_the_farm_colors_a_range_and_saves(
    farm: tuple[Any, Path], bridge: FakeBridge, capsys: pytest.CaptureFixture[str]
) -> None:
    entry, script = farm
    arguments = ["--script", str(script), "--range=1002-1004", "--save"]
    assert entry.main(arguments) == 0
    assert bridge.served == 3
    assert "100%" in capsys.readouterr().out
    bare = FakeNuke()
    bare.scriptOpen(str(script))
    assert bare.toNode("ColorBridge1.RESULT")["last"].value() == 1004  # type: ignore[index]


def test_the_farms_exit_codes_say_what_happened(farm: tuple[Any, Path], bridge: FakeBridge) -> None:
    from host_plugins.wire.errors import BridgeError

    entry, script = farm
    assert entry.main(["--script", str(script), "--node", "Nothing1"]) == 2
    bridge.error = BridgeError("license_required", "accept it first")
    assert entry.main(["--script", str(script)]) == 1
    with pytest.raises(SystemExit) as usage:
        entry.main([])
    assert usage.value.code == 2


# --- the real server ---


def test_nuke_and_the_command_line_give_the_same_pixels(
    nuke: FakeNuke, clip: Path, tmp_path: Path, real_server: Path, headless: Any
) -> None:
    from host_plugins.client import connect

    buttons = wired_to_lookup(connect, tmp_path)
    node = scene(nuke, clip)
    press(nuke, node, "add")
    press(nuke, node, "run")
    run_to_end(nuke, node)
    assert node["cb_status"].value() == "Done: 10 frames."
    read = node.node("RESULT")  # type: ignore[attr-defined]
    plates = next((tmp_path / "cache").rglob("plate.main.001001.exr")).parent
    exemplar = importlib.import_module("host_plugins.nuke_host.group").pins(node)[0].path
    headless(
        real_server, str(plates / "plate.main.######.exr"), f"1001={exemplar}",
        str(tmp_path / "out.######.exr"), "--effect", "lookup",
    )  # fmt: skip
    for index in range(1001, 1011):
        ours = nuke._image(read, index, "main")
        truth = nuke.createNode("Read")
        truth["file"].setValue(str(tmp_path / "out.%06d.exr"))
        truth["first"].setValue(index)
        truth["last"].setValue(index)
        theirs = nuke._image(truth, index, "main")
        assert np.array_equal(ours, theirs)
        assert ours.max() > 1
        assert np.abs(ours - ours.mean(-1, keepdims=True)).max() > 0.02  # there is color
    buttons.service().close()


def wired_to_lookup(connect: Any, tmp_path: Path) -> Any:
    module = importlib.import_module("host_plugins.nuke_host.buttons")
    settings = Settings(cache=str(tmp_path / "cache"), effect="lookup")
    service = Service(settings, name="nuke", version="16.0v3", connect=connect)
    service.panel("lookup").result()
    setattr(module, "service", lambda: service)  # noqa: B010
    return module
