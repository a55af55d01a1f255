"""What the node's buttons and knobs do, on the main thread, returning soon."""

from __future__ import annotations

import webbrowser
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Callable, Optional

import nuke

from host_plugins.host_layer import Panel, Pin, Service, Task, explain, load_settings
from host_plugins.nuke_host import group, runs
from host_plugins.nuke_host.bake import bake
from host_plugins.nuke_host.knobs import PREFIX, show_states
from host_plugins.nuke_host.main_thread import on_main, one_step
from host_plugins.nuke_host.plan import make_plan, node_folder
from host_plugins.nuke_host.render import render_exemplar
from host_plugins.wire.errors import BridgeError


@lru_cache(maxsize=1)
def service() -> Service:
    """This Nuke's one connection to the server."""
    return Service(load_settings(), name="nuke", version=str(nuke.NUKE_VERSION_STRING))


def create() -> Any:
    """The menu's command: a new node, complete at once when the server was ever seen before."""
    known = service().remembered()
    node = group.create(known, service().remembered_effects())
    if known is None:
        group.say(node, "Asking the server what it can do...")
    _ask_panel(node, "", start=known is None)
    return node


def pressed(node: Any, action: str) -> None:
    """A button was pressed; what goes wrong is told, never raised."""
    try:
        _ACTIONS[action](node)
    except BridgeError as error:
        message = explain(error)
        group.say(node, f"{message.title}. {message.text}", action=message.action)
        if nuke.GUI:
            nuke.message(str(message))


def changed(node: Any, knob: Any) -> None:
    """A knob changed. Nuke allows no rendering and no new nodes in here."""
    name = knob.name()
    if name == "cb_effect":
        if _version(node).split(" ")[0] == node["cb_effect"].value():
            return  # our own doing
        _ask_panel(node, node["cb_effect"].value(), start=False, replace=True)
    elif name == "cb_list":
        group.show_thumbnail(node)
    elif name == "showPanel" or name.startswith(PREFIX):
        panel = node_panel(node)
        if panel is not None:
            show_states(node, panel)
            _offer_update(node, panel)


def node_panel(node: Any) -> Optional[Panel]:
    """The panel of the node's effect as the server described it last."""
    return service().remembered(node["cb_effect"].value())


def _ask_panel(node: Any, effect: str, *, start: bool, replace: bool = False) -> None:
    """Ask the server for a panel on a thread, then bring it into the node on this one."""
    name = node.fullName()

    def done(task: Task[Panel]) -> None:
        on_main(lambda: arrived(task))

    def arrived(task: Task[Panel]) -> None:
        asker, panel = nuke.toNode(name), task.value
        if asker is None:
            return
        if panel is None:
            message = task.message
            if message is not None and node_panel(asker) is None:
                group.say(asker, f"{message.title}. {message.text}", action=message.action)
            return
        if replace or not asker["cb_version"].value():
            with one_step("ColorBridge parameters"):
                asker["cb_effect"].setValues(list(service().remembered_effects()))
                group.set_panel(asker, panel)
            group.say(asker, "Ready.")
        else:
            _offer_update(asker, panel)

    service().panel(effect, start=start, on_done=done)


def _offer_update(node: Any, panel: Panel) -> None:
    known = f"{panel.effect} {panel.version}"
    node["cb_update"].setVisible(bool(node["cb_version"].value()) and _version(node) != known)


def _version(node: Any) -> str:
    return str(node["cb_version"].value())


def _needed_panel(node: Any) -> Panel:
    panel = node_panel(node)
    if panel is None:
        _ask_panel(node, node["cb_effect"].value(), start=False)
        raise BridgeError("no_server", "no server has described this effect yet")
    return panel


# --- the buttons ---


def _run(node: Any) -> None:
    _start(node, preview=False)


def _preview(node: Any) -> None:
    _start(node, preview=True)


def _start(node: Any, *, preview: bool) -> None:
    if runs.running(node) is not None:
        raise BridgeError("busy", "this node is at work already", hint="Cancel it first.")
    if not len(group.pins(node)):
        raise BridgeError("exemplar_missing", "expected at least one exemplar, got none")
    plan = make_plan(node, _needed_panel(node), service().settings, preview=preview)
    runs.start(node, plan, service())


def _cancel(node: Any) -> None:
    run = runs.running(node)
    if run is not None:
        run.cancel()


def _update(node: Any) -> None:
    with one_step("Update ColorBridge"):
        group.set_panel(node, _needed_panel(node))


def _start_server(node: Any) -> None:
    group.say(node, "Starting the server...")
    _ask_panel(node, node["cb_effect"].value(), start=True, replace=node_panel(node) is None)


def _add(node: Any) -> None:
    if node.input(1) is None:
        raise BridgeError(
            "exemplar_missing",
            "nothing is connected to Exemplar",
            hint="Connect a color picture of this frame to the Exemplar input, or press Add file.",
        )
    frame = int(nuke.frame())
    folder = node_folder(node, service().settings) / "exemplars"
    pattern = f"{folder.as_posix()}/exemplar.%06d.png"
    path = render_exemplar(node, frame, next(iter(nuke.views())), pattern)
    _pin(node, Pin(path, frame, path))


def _add_file(node: Any) -> None:
    path = nuke.getFilename("A color picture of this frame", "*.png *.jpg *.jpeg *.tif *.exr *.dpx")
    if path:
        shown = str(path) if str(path).lower().endswith((".png", ".jpg", ".jpeg")) else ""
        _pin(node, Pin(str(path), int(nuke.frame()), shown))


def _pin(node: Any, pin: Pin) -> None:
    pins = group.pins(node)
    place = pins.add(pin)
    group.set_pins(node, pins, selected=place)
    group.say(node, f"{len(pins)} exemplar{'s' if len(pins) > 1 else ''}. Press Colorize range.")


def _delete(node: Any) -> None:
    pins, place = group.pins(node), group.selected_pin(node)
    if place >= 0:
        pins.remove(place)
        group.set_pins(node, pins, selected=max(0, place - 1))


def _goto(node: Any) -> None:
    place = group.selected_pin(node)
    frame = group.pins(node)[place].frame if place >= 0 else None
    if frame is not None:
        nuke.frame(frame)


def _report(node: Any) -> None:
    page = runs.report_path(node)
    if page is None:
        raise BridgeError("clip_unreadable", "there is no report yet", hint="Colorize first.")
    webbrowser.open(page.as_uri())


_ACTIONS: Mapping[str, Callable[[Any], None]] = {
    "run": _run,
    "preview": _preview,
    "cancel": _cancel,
    "update": _update,
    "start_server": _start_server,
    "add": _add,
    "add_file": _add_file,
    "delete": _delete,
    "goto": _goto,
    "report": _report,
    "bake": bake,
}
