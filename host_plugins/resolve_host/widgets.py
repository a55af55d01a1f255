"""Widgets of Resolve's UIManager for an effect's panel, drawn from the description alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from host_plugins.host_layer import Control, ControlState, Panel
from host_plugins.host_layer.panel import Value

PREFIX = "param_"
SLIDER_STEPS = 1000
LABEL_WEIGHT = 0.4


def rows(ui: Any, panel: Panel) -> list[Any]:
    """One group a section, one row a control, for a VGroup."""
    made = []
    for section in panel.sections:
        made.append(ui.Label({"Text": f"<b>{section.label}</b>", "Weight": 0}))
        made.extend(_row(ui, control) for control in section.controls)
    return made


def fill(items: Mapping[str, Any], panel: Panel, values: Mapping[str, Value]) -> None:
    """Fill the lists, which an element takes only when it exists, and show these values."""
    for control in panel.controls:
        if control.kind == "choice":
            item = items[PREFIX + control.name]
            item.Clear()
            item.AddItems(list(control.labels))
    show(items, panel, values)


def show(items: Mapping[str, Any], panel: Panel, values: Mapping[str, Value]) -> None:
    """Show these values. Elements tell of every change, also of this one: guard against it."""
    for control in panel.controls:
        item = items[PREFIX + control.name]
        value = values.get(control.name, control.default)
        if control.kind == "choice":
            item.CurrentIndex = control.choices.index(str(value))
        elif control.kind == "bool":
            item.Checked = bool(value)
        elif control.kind == "int":
            item.Value = int(value)
        else:
            item.Text = _number(value) if control.kind == "double" else str(value)
            if control.kind == "double" and control.slider:
                items[f"{PREFIX}{control.name}_slider"].Value = to_slider(control, float(value))


def read(items: Mapping[str, Any], panel: Panel) -> dict[str, Value]:
    """The values as the server takes them; what cannot be used keeps its default."""
    given: dict[str, object] = {}
    for control in panel.controls:
        item = items[PREFIX + control.name]
        if control.kind == "choice":
            index = int(item.CurrentIndex)
            given[control.name] = control.choices[index] if index >= 0 else control.default
        elif control.kind == "bool":
            given[control.name] = bool(item.Checked)
        elif control.kind == "int":
            given[control.name] = int(item.Value)
        elif control.kind == "double":
            given[control.name] = _parsed(str(item.Text), control)
        else:
            given[control.name] = str(item.Text)
    return panel.values(given)


def show_states(items: Mapping[str, Any], states: Mapping[str, ControlState]) -> None:
    """Grey out and hide what the values of others say."""
    for name, state in states.items():
        for key in (PREFIX + name, f"{PREFIX}{name}_slider", f"{PREFIX}{name}_browse"):
            if key in items:
                items[key].Enabled = state.enabled
                items[key].Hidden = not state.visible


def events(panel: Panel) -> list[tuple[str, str, Control]]:
    """(element id, event, control) of every edit."""
    names = {"choice": "CurrentIndexChanged", "bool": "Clicked", "int": "ValueChanged"}
    found = []
    for control in panel.controls:
        event = names.get(control.kind, "EditingFinished")
        found.append((PREFIX + control.name, event, control))
    return found


def to_slider(control: Control, value: float) -> int:
    """A value as steps of its slider."""
    low, high = control.slider or (0.0, 1.0)
    share = (value - low) / (high - low) if high > low else 0.0
    return round(SLIDER_STEPS * min(1.0, max(0.0, share)))


def from_slider(control: Control, step: int) -> float:
    """The value of a slider's step."""
    low, high = control.slider or (0.0, 1.0)
    return low + (high - low) * step / SLIDER_STEPS


def slider_text(control: Control, step: int) -> str:
    return _number(from_slider(control, step))


def _row(ui: Any, control: Control) -> Any:
    told = {"ID": PREFIX + control.name, "ToolTip": control.tooltip}
    label = ui.Label({"Text": control.label, "ToolTip": control.tooltip, "Weight": LABEL_WEIGHT})
    if control.kind == "bool":
        return ui.HGroup({"Weight": 0}, [ui.CheckBox({**told, "Text": control.label})])
    if control.kind == "choice":
        return ui.HGroup({"Weight": 0}, [label, ui.ComboBox(told)])
    if control.kind == "int":
        low = int(control.low) if control.low is not None else -(2**31)
        high = int(control.high) if control.high is not None else 2**31 - 1
        return ui.HGroup(
            {"Weight": 0}, [label, ui.SpinBox({**told, "Minimum": low, "Maximum": high})]
        )
    parts = [label, ui.LineEdit(told)]
    if control.kind == "double" and control.slider:
        slider = {"ID": f"{PREFIX}{control.name}_slider", "Minimum": 0, "Maximum": SLIDER_STEPS}
        parts.insert(1, ui.Slider(slider))
    if control.kind == "file":
        parts.append(ui.Button({"ID": f"{PREFIX}{control.name}_browse", "Text": "..."}))
    return ui.HGroup({"Weight": 0}, parts)


def _parsed(text: str, control: Control) -> float:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return float(control.default)


def _number(value: Any) -> str:
    return f"{float(value):.6g}"
