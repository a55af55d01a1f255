"""Strips: their frames, their exemplars, and how they look."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

import bpy

from host_plugins.host_layer import Pins, PlateFile
from host_plugins.wire.errors import BridgeError

PINS = "chromabridge_pins"
RESULT = "chromabridge_of"
PREVIEW = "ChromaBridge preview"
_LOOK = ("use_flip_x", "use_flip_y", "blend_type", "blend_alpha")
_SENT_AS_THEY_ARE = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".exr", ".dpx")


def all_strips(scene: Any) -> Any:
    """The scene's strips; Blender 4.4 calls them strips, older ones sequences."""
    editor = scene.sequence_editor
    return editor.strips if hasattr(editor, "strips") else editor.sequences


def chosen(scene: Any) -> Any:
    """The active strip, when it can be colorized. Raises BridgeError clip_unreadable."""
    editor = scene.sequence_editor
    strip = editor.active_strip if editor is not None else None
    if strip is None or strip.type not in ("MOVIE", "IMAGE"):
        raise BridgeError(
            "clip_unreadable",
            "no movie or image strip is selected",
            hint="Click the black-and-white strip in the sequencer.",
        )
    return strip


def frames_of(strip: Any) -> tuple[int, int]:
    """First and last frame, both inclusive, where the strip shows frames of its own."""
    start = round(strip.frame_start)
    first = max(round(strip.frame_final_start), start)
    last = min(round(strip.frame_final_end), start + _length(strip)) - 1
    if last < first:
        raise BridgeError("clip_unreadable", f"{strip.name} shows none of its frames")
    return first, last


def own_files(strip: Any, first: int, last: int) -> Optional[list[PlateFile]]:
    """The files behind these frames when they are sent as they are; None when the strip must be
    rendered: movies, changed speed or direction. Raises BridgeError frame_missing."""
    if strip.type != "IMAGE" or not _plain(strip):
        return None
    start = round(strip.frame_start)
    folder = Path(bpy.path.abspath(strip.directory))
    files = [
        PlateFile(frame, folder / strip.elements[frame - start].filename)
        for frame in range(first, last + 1)
    ]
    if any(file.path.suffix.lower() not in _SENT_AS_THEY_ARE for file in files):
        return None
    for file in files:
        if not file.path.is_file():
            raise BridgeError("frame_missing", f"{file.path} does not exist")
    return files


def pins_of(strip: Any) -> Pins:
    """The strip's exemplars; their frames count from the strip's start, so that it can move."""
    return Pins.from_text(str(strip.get(PINS, "")))


def set_pins(strip: Any, pins: Pins) -> None:
    """Keep them with the strip, in the .blend."""
    strip[PINS] = pins.to_text()


def place_above(scene: Any, strip: Any, paths: Iterable[Path], first: int, *, name: str) -> Any:
    """Put image files as a strip on the next free channel above, looking as the strip does.

    Returns the new strip. The strip itself is not touched.
    """
    files = list(paths)
    strips = all_strips(scene)
    channel = _free_channel(strips, strip, first, first + len(files))
    made = strips.new_image(name, str(files[0]), channel, first)
    for path in files[1:]:
        made.elements.append(path.name)
    made.frame_final_duration = len(files)
    made[RESULT] = strip.name
    _copy_look(strip, made)
    return made


def remove_strip(scene: Any, name: str) -> None:
    """Take away one of ours by its name, if it is there."""
    strips = all_strips(scene)
    old = strips.get(name)
    if old is not None and RESULT in old:
        strips.remove(old)


def result_name(strip: Any) -> str:
    """What the result's strip is called."""
    return f"{strip.name[:50]} (color)"


def _length(strip: Any) -> int:
    """How many frames of its own the strip has, at its speed."""
    frames: float = strip.frame_duration / (getattr(strip, "speed_factor", 1.0) or 1.0)
    return max(1, round(frames))


def _plain(strip: Any) -> bool:
    return (
        getattr(strip, "speed_factor", 1.0) == 1.0
        and not strip.use_reverse_frames
        and not strip.use_deinterlace
        and getattr(strip, "strobe", 1.0) <= 1.0
        and not getattr(strip, "use_multiview", False)
    )


def _free_channel(strips: Any, strip: Any, first: int, end: int) -> int:
    taken = {
        other.channel
        for other in strips
        if other.frame_final_start < end and other.frame_final_end > first
    }
    channel: int = strip.channel + 1
    while channel in taken:
        channel += 1
    return channel


def _copy_look(strip: Any, made: Any) -> None:
    with suppress(TypeError):  # a float strip's space may not be one for the result's type
        made.colorspace_settings.name = strip.colorspace_settings.name
    made.alpha_mode = strip.alpha_mode
    for name in _LOOK:
        setattr(made, name, getattr(strip, name))
    for part in ("transform", "crop"):
        source, target = getattr(strip, part), getattr(made, part)
        for item in source.bl_rna.properties:
            if not item.is_readonly:
                setattr(target, item.identifier, getattr(source, item.identifier))
