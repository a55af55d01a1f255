"""An effect's panel as Nuke knobs: made, read back, and greyed out by the panel's rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import nuke

from host_plugins.host_layer import Control, Panel

#: before a parameter's name, so that none meets a knob of Nuke's own (name, label, note_font, ...)
PREFIX = "p_"
_GROUP = "group_"


def make_knobs(panel: Panel) -> list[Any]:
    """Knobs for all of a panel, groups around them, in order."""
    knobs: list[Any] = []
    for section in panel.sections:
        begin = nuke.TABBEGINGROUP if section.open else nuke.TABBEGINCLOSEDGROUP
        knobs.append(nuke.Tab_Knob(_GROUP + section.name, section.label, begin))
        knobs.extend(_make(control) for control in section.controls)
        knobs.append(nuke.Tab_Knob(_GROUP + section.name + "_end", section.label, nuke.TABENDGROUP))
    return knobs


def is_ours(name: str) -> bool:
    """Whether a knob of this name was made here."""
    return name.startswith((PREFIX, _GROUP))


def read_values(node: Any, panel: Panel) -> dict[str, Any]:
    """What the knobs hold, as it goes to the server."""
    given: dict[str, object] = {}
    for control in panel.controls:
        knob = node.knob(PREFIX + control.name)
        if knob is not None:
            given[control.name] = knob.value()
    return dict(panel.values(given))


def write_values(node: Any, panel: Panel, values: Mapping[str, object]) -> None:
    """Set the knobs that exist."""
    kept = panel.values(values)
    for control in panel.controls:
        knob = node.knob(PREFIX + control.name)
        if knob is not None:
            value = kept[control.name]
            knob.setValue(control.shown(value) if control.kind == "choice" else value)


def show_states(node: Any, panel: Panel) -> None:
    """Grey out and hide by the panel's rules."""
    for name, state in panel.states(read_values(node, panel)).items():
        knob = node.knob(PREFIX + name)
        if knob is not None:
            knob.setEnabled(state.enabled)
            knob.setVisible(state.visible)


def _make(control: Control) -> Any:
    name, label = PREFIX + control.name, control.label
    if control.kind == "choice":
        knob = nuke.Enumeration_Knob(name, label, list(control.labels))
        knob.setValue(control.shown(control.default))
    else:
        makers = {
            "int": nuke.Int_Knob,
            "double": nuke.Double_Knob,
            "bool": nuke.Boolean_Knob,
            "string": nuke.String_Knob,
            "file": nuke.File_Knob,
        }
        knob = makers[control.kind](name, label)
        if control.kind in ("int", "double") and control.slider is not None:
            knob.setRange(*control.slider)
        knob.setValue(control.default)
    knob.setTooltip(control.tooltip)
    knob.setFlag(nuke.NO_ANIMATION)
    knob.setFlag(nuke.STARTLINE)
    return knob
