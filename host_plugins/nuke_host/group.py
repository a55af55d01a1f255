"""The ColorBridge node: a Group that Python builds and that lives in the .nk by itself.

Inside are inputs Source and Exemplar, the disabled Writes PLATE and EXEMPLAR, the Reads RESULT and
PREVIEW, a Switch, and the Output: eight nodes, so that Nuke Indie's limit of ten holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import nuke

from host_plugins.host_layer import Panel, Pins
from host_plugins.nuke_host.knobs import (
    is_ours,
    make_knobs,
    read_values,
    show_states,
    write_values,
)
from host_plugins.nuke_host.main_thread import one_step, unnoticed

SHOWN = ("source", "result", "preview")
RANGES = ("input", "project", "custom")
PAGE = "ColorBridge"
PARAMETERS = "Parameters"

_ABSENT = "nuke.message('ColorBridge is not installed here. What it made stays visible.')"
_PRESSED = (
    "import importlib.util as u; __import__('host_plugins.nuke_host.buttons', "
    "fromlist=['pressed']).pressed(nuke.thisNode(), '{}') "
    "if u.find_spec('host_plugins') else " + _ABSENT
)
_CHANGED = (
    "import importlib.util as u; u.find_spec('host_plugins') and "
    "__import__('host_plugins.nuke_host.buttons', fromlist=['changed'])"
    ".changed(nuke.thisNode(), nuke.thisKnob())"
)


def create(panel: Optional[Panel], effects: Sequence[str]) -> Any:
    """Make the node as one step of Undo, behind what is selected; without a panel it has no
    parameters yet."""
    with one_step("Create ColorBridge"):
        node = nuke.createNode("Group", inpanel=False)
        node.setName("ColorBridge1")
        _build_inside(node)
        _add_knobs(node, effects)
        if panel is not None:
            set_panel(node, panel)
        node["knobChanged"].setValue(_CHANGED)
    return node


def is_colorbridge(node: Any) -> bool:
    """Whether a node is one of ours."""
    return node is not None and node.knob("cb_version") is not None


def set_panel(node: Any, panel: Panel) -> None:
    """Give the node the knobs of a panel; values of parameters that stay are kept."""
    kept = read_values(node, panel)
    known = {knob for knob in node.knobs() if is_ours(knob)}
    for name in known:
        node.removeKnob(node.knob(name))
    if node.knob("cb_parameters") is None:
        node.addKnob(nuke.Tab_Knob("cb_parameters", PARAMETERS))
    for knob in make_knobs(panel):
        node.addKnob(knob)
    write_values(node, panel, kept)
    show_states(node, panel)
    node["cb_version"].setValue(f"{panel.effect} {panel.version}")
    node["cb_update"].setVisible(False)
    effect = node["cb_effect"]
    if panel.effect not in effect.values():
        effect.setValues([*effect.values(), panel.effect])
    effect.setValue(panel.effect)
    node["cb_notice"].setValue(" ".join(part for part in (panel.hint, panel.notice) if part))


def pins(node: Any) -> Pins:
    """The node's exemplars."""
    return Pins.from_text(node["cb_pins"].value())


def set_pins(node: Any, chosen: Pins, *, selected: int = 0) -> None:
    """Keep the exemplars in the node and show them in its list, as one step of Undo."""
    labels = [pin.label for pin in chosen] or ["none yet"]
    with one_step("ColorBridge exemplars"):
        node["cb_pins"].setValue(chosen.to_text())
        node["cb_list"].setValues(labels)
        node["cb_list"].setValue(labels[min(selected, len(labels) - 1)])
    show_thumbnail(node)


def selected_pin(node: Any) -> int:
    """The place of the exemplar that the list shows; -1 when there is none."""
    labels = [pin.label for pin in pins(node)]
    shown = node["cb_list"].value()
    return labels.index(shown) if shown in labels else -1


def show_thumbnail(node: Any) -> None:
    """Show the chosen exemplar's picture below the list."""
    place = selected_pin(node)
    path = pins(node)[place].thumbnail if place >= 0 else ""
    with unnoticed():
        node["cb_thumbnail"].setValue(f'<img src="{path}" width="240">' if path else "")


def say(node: Any, text: str, *, action: str = "") -> None:
    """Show a line of status, and the button that helps."""
    with unnoticed():
        node["cb_status"].setValue(text)
        node["cb_start_server"].setVisible(action == "start_server")


def _build_inside(node: Any) -> None:
    for inner in node.nodes():  # Nuke puts an Input and an Output into a new Group
        nuke.delete(inner)
    with node:
        source = _inner("Input", "Source", 0, 0)
        exemplar = _inner("Input", "Exemplar", 200, 0)
        _plate_writer(source)
        _writer("EXEMPLAR", "png", exemplar, 200)
        result = _reader("RESULT", -200, 100)
        preview = _reader("PREVIEW", -320, 100)
        switch = _inner("Switch", "SHOWN", 0, 220)
        for place, shown in enumerate((source, result, preview)):
            switch.setInput(place, shown)
        switch["which"].setExpression("parent.cb_show")
        output = _inner("Output", "Output1", 0, 300)
        output.setInput(0, switch)


def _inner(kind: str, name: str, x: int, y: int) -> Any:
    node = nuke.createNode(kind, inpanel=False)
    for place in range(node.inputs()):
        node.setInput(place, None)
    node.setName(name)
    node.setXYpos(x, y)
    return node


def _plate_writer(source: Any) -> None:
    """Half float EXR without any color conversion, so that values over 1 and below 0 survive."""
    node = _writer("PLATE", "exr", source, 0)
    node["datatype"].setValue("16 bit half")
    node["compression"].setValue("Zip (1 scanline)")
    node["channels"].setValue("rgba")
    node["autocrop"].setValue(False)
    node["raw"].setValue(True)


def _writer(name: str, kind: str, source: Any, x: int) -> Any:
    node = _inner("Write", name, x, 100)
    node.setInput(0, source)
    node["file_type"].setValue(kind)
    node["create_directories"].setValue(True)
    node["disable"].setValue(True)
    return node


def _reader(name: str, x: int, y: int) -> Any:
    node = _inner("Read", name, x, y)
    node["raw"].setValue(True)
    node["on_error"].setValue("nearest frame")
    return node


def _add_knobs(node: Any, effects: Sequence[str]) -> None:
    def add(knob: Any, tooltip: str = "", *flags: int) -> None:
        knob.setTooltip(tooltip)
        for flag in flags:
            knob.setFlag(flag)
        node.addKnob(knob)

    def button(action: str, label: str, tooltip: str, *flags: int) -> None:
        add(nuke.PyScript_Knob(f"cb_{action}", label, _PRESSED.format(action)), tooltip, *flags)

    line, hidden, still = nuke.STARTLINE, nuke.INVISIBLE, nuke.NO_ANIMATION
    add(nuke.Tab_Knob("cb_page", PAGE))
    add(
        nuke.Enumeration_Knob("cb_effect", "effect", list(effects) or ["starter"]),
        "Which network colors the clip. Its parameters are on the next page.",
    )
    add(nuke.Text_Knob("cb_notice", "", ""))
    add(
        nuke.Enumeration_Knob("cb_show", "show", list(SHOWN)),
        "What leaves this node: the input, the colored result, or the last preview.",
    )
    button("update", "Update parameters", "The server knows a newer version.", line)
    add(nuke.Text_Knob("cb_line1", "", ""))
    add(nuke.Enumeration_Knob("cb_list", "exemplars", ["none yet"]), "The color stills.", still)
    add(nuke.Text_Knob("cb_thumbnail", "", ""))
    button(
        "add",
        "Add exemplar at this frame",
        "Render the Exemplar input at this frame and pin it here.",
        line,
    )
    button("add_file", "Add file...", "Use a picture file, pinned to this frame.")
    button("delete", "Delete", "Take the chosen exemplar out of the list.")
    button("goto", "Go to", "Go to the chosen exemplar's frame.")
    add(nuke.Text_Knob("cb_line2", "", ""))
    add(nuke.Enumeration_Knob("cb_range", "frame range", list(RANGES)), "Which frames to color.")
    add(nuke.Int_Knob("cb_first", "first"), "First frame of a custom range.", still)
    add(nuke.Int_Knob("cb_last", "last"), "Last frame of a custom range.", still)
    add(
        nuke.String_Knob("cb_views", "views", ""),
        "Views to color, with spaces between; empty is the first one. All use the same exemplars.",
    )
    add(
        nuke.File_Knob("cb_folder", "results in"),
        "Folder for results; empty is the cache folder. On a farm choose a shared one.",
    )
    button("preview", "Preview frame", "Color this frame alone.", line)
    button("run", "Colorize range", "Color the whole range; frames done before are kept.")
    button("cancel", "Cancel", "Stop; finished frames are kept.")
    button("bake", "Bake", "Replace this node by a Read of its result.")
    button("report", "Open report", "What was asked, what was done, and why they differ.")
    add(nuke.Text_Knob("cb_status", "", "Ready."), "", line)
    button("start_server", "Start server", "Start ChromaBridge on this computer.", line)
    for name in ("cb_version", "cb_pins", "cb_report_page"):
        add(nuke.String_Knob(name, name, ""), "", hidden)
    for name in ("cb_update", "cb_start_server"):
        node[name].setVisible(False)
