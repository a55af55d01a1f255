"""The words an effect is described in: clips, typed parameters, contexts; after OpenFX 1.5.

A descriptor is plain data that travels to hosts as it is, so that a host builds its panel from it
and a new parameter needs no change in any host.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from host_plugins.wire.errors import BridgeError

ParamKind = Literal["int", "double", "bool", "choice", "string", "file"]
Value = bool | int | float | str


@dataclass(frozen=True)
class Param:
    """One typed parameter.

    kind: "int", "double", "bool", "choice" (a string out of `choices`), "string" or "file" (a path
    on the host's side). low, high: hard limits, inclusive. display: the range a slider shows.
    labels: what a host shows for each choice, in the order of `choices`. group: the name of a
    Group. enabled_by: (parameter, value): greyed out unless that parameter has that value.
    invalidates: what a change spoils: "none", "frame" or "after" (this frame and all later ones).
    """

    name: str
    kind: ParamKind
    label: str
    hint: str
    default: Value
    low: float | None = None
    high: float | None = None
    display: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    group: str = "main"
    secret: bool = False
    enabled_by: tuple[str, Value] | None = None
    invalidates: Literal["none", "frame", "after"] = "after"

    def check(self, value: object) -> Value:
        """The value as this parameter keeps it. Raises BridgeError `bad_param`."""
        if self.kind == "bool" and isinstance(value, bool):
            return value
        if self.kind in ("int", "double") and _is_number(value):
            return self._in_range(value)
        if self.kind == "choice" and value in self.choices:
            return str(value)
        if self.kind in ("string", "file") and isinstance(value, str):
            return value
        raise BridgeError(
            "bad_param", f"{self.name}: expected {self.expected()}, got {str(value)[:60]!r}"
        )

    def expected(self) -> str:
        """What the parameter takes, in words."""
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        if self.kind in ("int", "double"):
            what = "a whole number" if self.kind == "int" else "a number"
            return f"{what} from {self.low} to {self.high}"
        return {"bool": "true or false", "string": "a text", "file": "a path"}[self.kind]

    def to_map(self) -> dict[str, Any]:
        """Plain data for the wire; absent values are left out."""
        told = {
            "name": self.name,
            "kind": self.kind,
            "label": self.label,
            "hint": self.hint,
            "default": self.default,
            "low": self.low,
            "high": self.high,
            "display": list(self.display) if self.display else None,
            "choices": list(self.choices) or None,
            "labels": list(self.labels) or None,
            "group": self.group,
            "secret": self.secret or None,
            "enabled_by": list(self.enabled_by) if self.enabled_by else None,
            "invalidates": self.invalidates,
        }
        return {name: value for name, value in told.items() if value is not None}

    def _in_range(self, value: Any) -> Value:
        number = int(value) if self.kind == "int" else float(value)
        whole = self.kind != "int" or number == value
        above = self.low is None or number >= self.low
        below = self.high is None or number <= self.high
        if not (whole and above and below):
            raise BridgeError("bad_param", f"{self.name}: expected {self.expected()}, got {value}")
        return number


@dataclass(frozen=True)
class Group:
    """A titled part of the panel; `open` says whether it starts unfolded."""

    name: str
    label: str
    open: bool = True


@dataclass(frozen=True)
class Clip:
    """An input or output picture stream. `optional` ones may stay unconnected."""

    name: Literal["Source", "Exemplar", "Output"]
    label: str
    optional: bool = False
    components: tuple[str, ...] = ("RGBA", "RGB", "Alpha")
    depths: tuple[str, ...] = ("Byte", "Short", "Half", "Float")


@dataclass(frozen=True)
class Descriptor:
    """One effect, in one context.

    version: (major, minor) of the effect; a project saved with another major is told so.
    notice: a sentence that hosts show beside the effect, such as a licence badge.
    """

    id: str
    label: str
    version: tuple[int, int]
    context: Literal["filter", "general"]
    clips: tuple[Clip, ...]
    params: tuple[Param, ...]
    groups: tuple[Group, ...]
    hint: str
    notice: str = ""
    grouping: str = "ChromaBridge"

    def effective(self, given: Mapping[str, object]) -> dict[str, Value]:
        """All parameters with their values, defaults filled in.

        Raises BridgeError `unknown_param` or `bad_param`.
        """
        known = {param.name: param for param in self.params}
        for name in given:
            if name not in known:
                raise BridgeError(
                    "unknown_param",
                    f"{self.id}: expected one of {', '.join(known)}, got {str(name)[:60]!r}",
                )
        return {
            name: param.check(given[name]) if name in given else param.default
            for name, param in known.items()
        }

    def to_map(self) -> dict[str, Any]:
        """Plain data for the wire; frames are rendered first to last, on one instance."""
        return {
            "id": self.id,
            "label": self.label,
            "version": list(self.version),
            "context": self.context,
            "grouping": self.grouping,
            "hint": self.hint,
            "notice": self.notice,
            "sequential_render": "required",
            "thread_safety": "instance",
            "tiles": False,
            "clips": [
                {
                    "name": clip.name,
                    "label": clip.label,
                    "optional": clip.optional,
                    "components": list(clip.components),
                    "depths": list(clip.depths),
                }
                for clip in self.clips
            ],
            "groups": [{"name": g.name, "label": g.label, "open": g.open} for g in self.groups],
            "params": [param.to_map() for param in self.params],
        }


def _is_number(value: object) -> bool:
    """A finite number; a boolean is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
