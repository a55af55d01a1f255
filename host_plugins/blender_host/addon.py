"""Registering with Blender and leaving again without a trace."""

from __future__ import annotations

from typing import Any

import bpy

from host_plugins.blender_host import properties
from host_plugins.blender_host.bridge import bridge, drop
from host_plugins.blender_host.operators import CLASSES, refresh
from host_plugins.blender_host.sidebar import (
    CHROMABRIDGE_PT_main,
    hide_sections,
    show_sections,
)


def register() -> None:
    """Show the sidebar; ask a server that runs for its panel, without starting one."""
    for cls in (*CLASSES, CHROMABRIDGE_PT_main):
        bpy.utils.register_class(cls)
    setattr(bpy.types.Scene, properties.EFFECT, properties.effect_property())
    panel = bridge().panel
    if panel is not None:
        properties.make(panel)
        show_sections()
    bpy.app.handlers.load_post.append(bpy.app.handlers.persistent(_file_opened))
    if not bpy.app.background:
        refresh("", start=False)


def unregister() -> None:
    """Take it all away."""
    bpy.app.handlers.load_post.remove(_file_opened)
    hide_sections()
    properties.remove()
    if hasattr(bpy.types.Scene, properties.EFFECT):
        delattr(bpy.types.Scene, properties.EFFECT)
    for cls in (CHROMABRIDGE_PT_main, *reversed(CLASSES)):
        bpy.utils.unregister_class(cls)
    drop()


def _file_opened(*_: Any) -> None:
    """A file brings the effect that was chosen in it."""
    chosen = str(bpy.context.scene.get(properties.CHOSEN, ""))
    panel = bridge().panel
    if chosen and (panel is None or panel.effect != chosen):
        refresh(chosen, start=False)
