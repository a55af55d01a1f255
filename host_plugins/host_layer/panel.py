"""An effect's panel as data: what a host needs to draw widgets from a descriptor, and their rules.

A new parameter, choice or group of the server shows up in every host without a change there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional, Union

from host_plugins.wire.errors import BridgeError

Value = Union[bool, int, float, str]

KINDS = ("int", "double", "bool", "choice", "string", "file")
_TYPES = {
    "int": (int,),
    "double": (int, float),
    "bool": (bool,),
    "choice": (str,),
    "string": (str,),
    "file": (str,),
}


@dataclass(frozen=True)
class Control:
    """One widget. kind: one of KINDS. low, high: hard limits; display: the range of a slider.

    choices: values as the server takes them, labels: what to show for each, in the same order.
    spoils: "none", "frame" or "after": what a change makes old (this frame, or all later ones too).
    """

    name: str
    kind: str
    label: str
    tooltip: str
    default: Value
    low: Optional[float] = None
    high: Optional[float] = None
    display: Optional[tuple[float, float]] = None
    choices: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    group: str = "main"
    secret: bool = False
    enabled_by: Optional[tuple[str, Value]] = None
    spoils: str = "after"

    @property
    def slider(self) -> Optional[tuple[float, float]]:
        """The range for a slider, None when the number has no two ends."""
        if self.display is not None:
            return self.display
        if self.low is None or self.high is None:
            return None
        return self.low, self.high

    def keep(self, value: object) -> Value:
        """The value as the server takes it, numbers brought inside their limits.

        A choice's label is taken for the choice. Raises BridgeError `bad_param`.
        """
        if self.kind in ("int", "double") and _is_number(value):
            return self._inside(value)
        if self.kind == "bool" and isinstance(value, (bool, int, float)):
            return bool(value)
        if self.kind == "choice" and isinstance(value, str):
            if value in self.choices:
                return value
            if value in self.labels:
                return self.choices[self.labels.index(value)]
        elif isinstance(value, _TYPES[self.kind]) and self.kind in ("string", "file"):
            return str(value)
        raise BridgeError("bad_param", f"{self.label}: cannot be {str(value)[:60]!r}")

    def shown(self, value: Value) -> str:
        """A choice's label for its value; any other value as text."""
        if self.kind == "choice" and value in self.choices and self.labels:
            return self.labels[self.choices.index(str(value))]
        return str(value)

    def _inside(self, value: Any) -> Value:
        number = float(value)
        if self.low is not None:
            number = max(number, self.low)
        if self.high is not None:
            number = min(number, self.high)
        return round(number) if self.kind == "int" else number


@dataclass(frozen=True)
class Section:
    """A titled part of the panel with its controls; `open` says whether it starts unfolded."""

    name: str
    label: str
    open: bool
    controls: tuple[Control, ...]


@dataclass(frozen=True)
class ControlState:
    """How a widget is shown now."""

    enabled: bool
    visible: bool


@dataclass(frozen=True)
class Panel:
    """One effect's panel. version: "major.minor" of the effect."""

    effect: str
    label: str
    version: str
    hint: str
    notice: str
    sections: tuple[Section, ...]

    @classmethod
    def from_descriptor(
        cls, told: Mapping[str, Any], *, defaults: Optional[Mapping[str, Value]] = None
    ) -> Panel:
        """Build it from `server.describe(effect)`; parameters of a kind not known here are left
        out and keep the server's default. defaults: the user's own, by name.

        Raises BridgeError `version` when it is no descriptor.
        """
        own = defaults or {}
        try:
            controls = [
                _control(param, own) for param in told["params"] if param.get("kind") in _TYPES
            ]
            groups = [
                (str(group["name"]), str(group["label"]), bool(group.get("open", True)))
                for group in told.get("groups", ())
            ]
            named = {name for name, _, _ in groups}
            orphans = [c.group for c in controls if c.group not in named]
            groups.extend((name, name.capitalize(), True) for name in dict.fromkeys(orphans))
            sections = tuple(
                Section(name, label, unfolded, tuple(c for c in controls if c.group == name))
                for name, label, unfolded in groups
            )
            return cls(
                effect=str(told["id"]),
                label=str(told["label"]),
                version=".".join(str(part) for part in told["version"]),
                hint=str(told.get("hint", "")),
                notice=str(told.get("notice", "")),
                sections=tuple(section for section in sections if section.controls),
            )
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise BridgeError(
                "version", f"the server's description of an effect cannot be read: {error!r}"
            ) from None

    @property
    def controls(self) -> tuple[Control, ...]:
        """All of them, in the order of the panel."""
        return tuple(control for section in self.sections for control in section.controls)

    def control(self, name: str) -> Optional[Control]:
        """One by its name, or None."""
        return next((control for control in self.controls if control.name == name), None)

    def values(self, given: Mapping[str, object]) -> dict[str, Value]:
        """All parameters as they go to the server; what is missing or unusable keeps its default.

        A project may hold values of an older effect: they never make it fail.
        """
        kept: dict[str, Value] = {}
        for control in self.controls:
            kept[control.name] = control.default
            if control.name in given:
                try:
                    kept[control.name] = control.keep(given[control.name])
                except BridgeError:
                    continue
        return kept

    def states(self, values: Mapping[str, object]) -> dict[str, ControlState]:
        """How each widget is shown while the panel holds these values.

        A control is enabled while the parameter that it hangs on has its value and is itself
        enabled.
        """
        known = self.values(values)
        return {
            control.name: ControlState(self._enabled(control, known, 0), not control.secret)
            for control in self.controls
        }

    def instance_changed(
        self, name: str, before: Mapping[str, object], after: Mapping[str, object]
    ) -> tuple[dict[str, ControlState], str]:
        """After an edit: the widgets whose state differs now, and what the edit spoils.

        The second value is "none", "frame" or "after", and "none" for a value that did not change.
        """
        old, new = self.states(before), self.states(after)
        changed = {key: state for key, state in new.items() if old[key] != state}
        control = self.control(name)
        same = control is None or self.values(before)[name] == self.values(after)[name]
        return changed, "none" if same or control is None else control.spoils

    def _enabled(self, control: Control, values: Mapping[str, Value], depth: int) -> bool:
        if control.enabled_by is None or depth > len(values):
            return True
        name, wanted = control.enabled_by
        parent = self.control(name)
        if parent is None:
            return True
        return values[name] == wanted and self._enabled(parent, values, depth + 1)


def _control(param: Mapping[str, Any], own: Mapping[str, Value]) -> Control:
    display = param.get("display")
    enabled_by = param.get("enabled_by")
    choices = tuple(str(choice) for choice in param.get("choices", ()))
    control = Control(
        name=str(param["name"]),
        kind=str(param["kind"]),
        label=str(param.get("label", param["name"])),
        tooltip=str(param.get("hint", "")),
        default=param["default"],
        low=param.get("low"),
        high=param.get("high"),
        display=(float(display[0]), float(display[1])) if display else None,
        choices=choices,
        labels=tuple(str(label) for label in param.get("labels", ())) or choices,
        group=str(param.get("group", "main")),
        secret=bool(param.get("secret", False)),
        enabled_by=(str(enabled_by[0]), enabled_by[1]) if enabled_by else None,
        spoils=str(param.get("invalidates", "after")),
    )
    if control.name not in own:
        return control
    return replace(control, default=control.keep(own[control.name]))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
