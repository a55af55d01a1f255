"""Runs inside Blender, started by test_blender_host: drives the add-on as an artist would.

Argument behind --: a JSON file with what to do, and where to write what was seen.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import bpy


def main(asked: dict) -> dict:  # type: ignore[type-arg]
    scene = bpy.context.scene
    scene.sequence_editor_clear()
    scene.view_settings.view_transform = "Filmic"
    scene.render.resolution_x, scene.render.resolution_y = asked["size"]
    editor = scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    bpy.ops.chromabridge.connect(effect=asked["effect"])
    if "image" in asked:
        strip = strips.new_image("bw", asked["image"][0], 2, asked["start"])
        for other in asked["image"][1:]:
            strip.elements.append(Path(other).name)
        strip.frame_final_duration = len(asked["image"])
    else:
        strip = strips.new_movie("bw", asked["movie"], 2, asked["start"])
        strip.frame_final_start = asked["first"]
        strip.frame_final_end = asked["last"] + 1
    editor.active_strip = strip
    long = asked["start"] + 999
    until = {"length": long} if bpy.app.version >= (5, 0) else {"frame_end": long}
    other = strips.new_effect("title", "COLOR", 3, frame_start=1, **until)
    other.mute = True
    before = look(strip)
    seen = {"values": sorted(a for a in scene.chromabridge_values.__annotations__)}
    scene.frame_set(asked["first"])
    bpy.ops.chromabridge.add_file(filepath=asked["still"])
    seen["pins"] = strip["chromabridge_pins"]
    bpy.ops.chromabridge.preview()
    seen["plates"] = str(Path(bpy.path.abspath(strips["ChromaBridge preview"].directory)).parent)
    seen["preview"] = look(strips["ChromaBridge preview"])
    bpy.ops.chromabridge.colorize()
    result = strips[f"{strip.name} (color)"]
    seen["result"] = look(result)
    seen["result"]["files"] = [
        str(Path(bpy.path.abspath(result.directory)) / e.filename) for e in result.elements
    ]
    seen["strips"] = sorted(s.name for s in strips)
    seen["untouched"] = look(strip) == before
    seen["view"] = scene.view_settings.view_transform
    seen["scenes"] = len(bpy.data.scenes)
    seen["playhead"] = scene.frame_current
    seen["shown"] = shown(scene, asked)
    scene.frame_set(asked["last"])
    bpy.ops.chromabridge.add_shown()  # what is shown is color by now
    seen["pins after"] = strip["chromabridge_pins"]
    return seen


def look(strip: bpy.types.ID) -> dict:  # type: ignore[type-arg]
    return {
        "first": round(strip.frame_final_start), "last": round(strip.frame_final_end) - 1,
        "channel": strip.channel, "space": strip.colorspace_settings.name,
        "scale": [strip.transform.scale_x, strip.transform.scale_y], "blend": strip.blend_type,
    }  # fmt: skip


def shown(scene: bpy.types.Scene, asked: dict) -> str:  # type: ignore[type-arg]
    """Render the sequencer itself, the way that keeps codes."""
    scene.view_settings.view_transform = "Standard"
    scene.render.dither_intensity = 0
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "PNG"
    scene.render.filepath = asked["shown"]
    scene.frame_set(asked["last"])
    bpy.ops.render.render(write_still=True)
    return asked["shown"]


orders = json.loads(Path(sys.argv[sys.argv.index("--") + 1]).read_text())
answers = [main(order) for order in orders["orders"]]
Path(orders["answer"]).write_text(json.dumps(answers))
