"""An effect's parameters as Blender properties, made at run time from the descriptor."""

from __future__ import annotations

from typing import Any

import bpy

from host_plugins.blender_host.bridge import bridge
from host_plugins.host_layer import Control, Panel

GROUP = "chromabridge_values"
EFFECT = "chromabridge_effect"
CHOSEN = "chromabridge_chosen"

_made: list[Any] = []


def make(panel: Panel) -> None:
    """Give every scene the properties of this panel; values set before are kept by name."""
    remove()
    fields = {control.name: _property(control) for control in panel.controls}
    group = type("CHROMABRIDGE_PG_values", (bpy.types.PropertyGroup,), {"__annotations__": fields})
    bpy.utils.register_class(group)
    _made.append(group)
    setattr(bpy.types.Scene, GROUP, bpy.props.PointerProperty(type=group))


def remove() -> None:
    """Take them away again; the values stay in the file."""
    while _made:
        if hasattr(bpy.types.Scene, GROUP):
            delattr(bpy.types.Scene, GROUP)
        bpy.utils.unregister_class(_made.pop())


def values(scene: Any, panel: Panel) -> dict[str, Any]:
    """What the properties hold, as it goes to the server."""
    group = getattr(scene, GROUP, None)
    if group is None:
        return dict(panel.values({}))
    return dict(panel.values({c.name: getattr(group, c.name) for c in panel.controls}))


def effect_property() -> Any:
    """The choice of the effect: shows the one whose panel is there; choosing another asks for it.

    The choice is kept in the scene under CHOSEN, for when the file is opened again.
    """

    def items(_self: Any, _context: Any) -> list[tuple[str, str, str, int]]:
        names = _effects()
        _kept[:] = [(name, name, "", place) for place, name in enumerate(names)]
        return _kept

    def get(_self: Any) -> int:
        panel = bridge().panel
        return _effects().index(panel.effect) if panel is not None else 0

    def choose(scene: Any, place: int) -> None:
        from host_plugins.blender_host.operators import refresh

        asked = _effects()[place]
        scene[CHOSEN] = asked
        if place != get(scene):
            refresh(asked, start=False)

    return bpy.props.EnumProperty(
        name="Effect",
        description="Which network colors the strip",
        items=items,
        get=get,
        set=choose,
    )


def _effects() -> list[str]:
    known = bridge()
    names = list(known.effects)
    if known.panel is not None and known.panel.effect not in names:
        names.append(known.panel.effect)
    return names or ["none yet"]


#: Blender reads the items' texts without owning them
_kept: list[tuple[str, str, str, int]] = []


def _property(control: Control) -> Any:
    words: dict[str, Any] = {
        "name": control.label, "description": control.tooltip, "default": control.default,
        "options": set(),
    }  # fmt: skip
    if control.kind == "bool":
        return bpy.props.BoolProperty(**words)
    if control.kind == "choice":
        items = [(c, label, "") for c, label in zip(control.choices, control.labels)]
        return bpy.props.EnumProperty(items=items, **words)
    if control.kind in ("string", "file"):
        if control.kind == "file":
            words["subtype"] = "FILE_PATH"
        return bpy.props.StringProperty(**words)
    whole = control.kind == "int"
    for word, number in (("min", control.low), ("max", control.high)):
        if number is not None:
            words[word] = int(number) if whole else number
    if control.slider is not None:
        words["soft_min"], words["soft_max"] = (
            (int(end) if whole else end) for end in control.slider
        )
    return bpy.props.IntProperty(**words) if whole else bpy.props.FloatProperty(**words)
