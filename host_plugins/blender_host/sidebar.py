"""The sidebar in the sequencer, drawn from the panel alone."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import bpy

from host_plugins.blender_host import properties, strips
from host_plugins.blender_host.bridge import bridge, sequencer_scene
from host_plugins.host_layer import Section
from host_plugins.wire.errors import BridgeError


class CHROMABRIDGE_PT_main(bpy.types.Panel):  # type: ignore[misc]
    """Strip, exemplars, actions, and what there is to say."""

    bl_label = "ChromaBridge"
    bl_idname = "CHROMABRIDGE_PT_main"
    bl_space_type = "SEQUENCE_EDITOR"
    bl_region_type = "UI"
    bl_category = "ChromaBridge"

    def draw(self, context: Any) -> None:
        layout, known = self.layout, bridge()
        self._message(layout)
        if known.panel is None:
            if known.message is None:
                layout.label(text="No server has been seen yet.")
            waiting = known.asking is not None
            row = layout.row()
            row.enabled = not waiting
            row.operator("chromabridge.connect", text="Starting..." if waiting else "Start server")
            return
        scene = sequencer_scene(context)
        layout.prop(scene, properties.EFFECT)
        if known.panel.notice:
            _text(layout, known.panel.notice, icon="INFO")
        try:
            strip = strips.chosen(scene)
        except BridgeError:
            layout.label(text="Select the black-and-white strip.", icon="SEQUENCE")
            return
        self._exemplars(layout, strip)
        self._actions(layout)

    def _message(self, layout: Any) -> None:
        message = bridge().message
        if message is None:
            return
        box = layout.box()
        box.alert = message.severity == "error"
        _text(box, message.title, icon="ERROR" if box.alert else "INFO")
        _text(box, message.text)
        if message.action == "start_server":
            box.operator("chromabridge.connect", text=message.button)
        elif message.action == "retry":
            box.operator("chromabridge.colorize", text=message.button)

    def _exemplars(self, layout: Any, strip: Any) -> None:
        box = layout.box()
        box.label(text=f"Exemplars of {strip.name}", icon="IMAGE_DATA")
        for place, pin in enumerate(strips.pins_of(strip)):
            row = box.row(align=True)
            name = Path(pin.path).name
            if pin.frame is None:
                row.label(text=name)
            else:
                frame = pin.frame + round(strip.frame_start)
                go = row.operator("chromabridge.goto_exemplar", text=f"{frame}: {name}")
                go.frame = pin.frame
            row.operator("chromabridge.remove_exemplar", text="", icon="X").place = place
        row = box.row(align=True)
        row.operator("chromabridge.add_shown", icon="ADD")
        row.operator("chromabridge.add_file", icon="FILE_FOLDER")

    def _actions(self, layout: Any) -> None:
        known = bridge()
        column = layout.column(align=True)
        if known.run is None:
            column.operator("chromabridge.preview", icon="HIDE_OFF")
            column.operator("chromabridge.colorize", icon="PLAY")
        else:
            column.operator("chromabridge.cancel", icon="CANCEL")
        if known.status:
            layout.label(text=known.status)


_sections: list[Any] = []


def show_sections() -> None:
    """A sub-panel for each group of the panel that is known now, made at run time."""
    hide_sections()
    panel = bridge().panel
    for section in panel.sections if panel is not None else ():
        cls = _section_class(section)
        bpy.utils.register_class(cls)
        _sections.append(cls)


def hide_sections() -> None:
    """Take them away."""
    while _sections:
        bpy.utils.unregister_class(_sections.pop())


def _section_class(section: Section) -> Any:
    def draw(self: Any, context: Any) -> None:
        panel = bridge().panel
        scene = sequencer_scene(context)
        group = getattr(scene, properties.GROUP, None)
        if panel is None or group is None:
            return
        states = panel.states(properties.values(scene, panel))
        self.layout.use_property_split = True
        for control in section.controls:
            state = states.get(control.name)
            if state is None or not state.visible:
                continue
            row = self.layout.row()
            row.enabled = state.enabled
            row.prop(group, control.name, slider=control.display is not None)

    name = "".join(c for c in section.name if c.isalnum())
    return type(
        f"CHROMABRIDGE_PT_section_{name}",
        (bpy.types.Panel,),
        {
            "bl_label": section.label,
            "bl_idname": f"CHROMABRIDGE_PT_section_{name}",
            "bl_parent_id": "CHROMABRIDGE_PT_main",
            "bl_space_type": "SEQUENCE_EDITOR",
            "bl_region_type": "UI",
            "bl_category": "ChromaBridge",
            "bl_options": set() if section.open else {"DEFAULT_CLOSED"},
            "draw": draw,
        },
    )


def _text(layout: Any, text: str, *, icon: str = "NONE") -> None:
    """Blender does not wrap: one label a line."""
    for number, line in enumerate(textwrap.wrap(text, 44)):
        layout.label(text=line, icon=icon if number == 0 else "NONE")
