"""Frames out of Blender: a strip alone in a scene of its own, rendered exact, frame by frame.

Blender's defaults would change the pixels: a Filmic or AgX view, dithering, scaling, alpha.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy

from host_plugins.host_layer import PlateFile, PlateQueue, expand_pattern
from host_plugins.wire.errors import BridgeError

MAX_WAITING = 24
#: what decides which frame of a file shows; handles do not, since frames count from the start
_TIMING = ("use_reverse_frames", "use_deinterlace", "strobe", "speed_factor")


class StripRender:
    """Renders a strip's frames into `pattern` (PNG, 8 bits, as decoded), one a call."""

    def __init__(self, strip: Any, first: int, last: int, pattern: str, queue: PlateQueue) -> None:
        self._pattern = pattern
        self._next, self._last = first, last
        self._queue = queue
        self._start = round(strip.frame_start)
        self._scene = _scene_with(strip)

    @property
    def busy(self) -> bool:
        """There are frames to render, and room for them."""
        return self._scene is not None and self._queue.waiting < MAX_WAITING

    def step(self) -> None:
        """Render the next frame; one that fails closes the queue with the reason."""
        path = expand_pattern(self._pattern, self._next)
        try:
            _render_in(self._scene, self._next - self._start + 1, path)
        except (RuntimeError, OSError) as error:
            self.close(BridgeError("frame_missing", f"Blender could not render it: {error}"))
            return
        self._queue.put(PlateFile(self._next, path))
        self._next += 1
        if self._next > self._last:
            self.close()

    def close(self, error: Any = None) -> None:
        """End it and take the scene away."""
        if self._scene is not None:
            bpy.data.scenes.remove(self._scene)
            self._scene = None
            self._queue.close(error)


def render_shown(scene: Any, frame: int, path: Path) -> None:
    """Render what the sequencer shows at a frame, without the view's tone mapping.

    Raises BridgeError bad_exemplar.
    """
    try:
        with _as_decoded(scene):
            _render(scene, frame, path)
    except (RuntimeError, OSError) as error:
        raise BridgeError("bad_exemplar", f"Blender could not render it: {error}") from None


def _scene_with(strip: Any) -> Any:
    """A scene that holds nothing but this strip, its first frame at 1, in its own size."""
    scene = bpy.data.scenes.new("ChromaBridge plate")
    editor = scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    element = strip.elements[0]
    scene.render.resolution_x = max(1, element.orig_width)
    scene.render.resolution_y = max(1, element.orig_height)
    if strip.type == "MOVIE":
        copy = strips.new_movie("plate", bpy.path.abspath(strip.filepath), 1, 1)
    else:
        folder = Path(bpy.path.abspath(strip.directory))
        copy = strips.new_image("plate", str(folder / element.filename), 1, 1)
        for other in list(strip.elements)[1:]:
            copy.elements.append(other.filename)
        copy.frame_final_duration = strip.frame_duration
    copy.colorspace_settings.name = strip.colorspace_settings.name
    for name in _TIMING:
        if hasattr(copy, name) and hasattr(strip, name):
            setattr(copy, name, getattr(strip, name))
    copy.transform.scale_x = copy.transform.scale_y = 1.0
    if copy.type == "MOVIE":
        scene.render.resolution_x = max(1, copy.elements[0].orig_width)
        scene.render.resolution_y = max(1, copy.elements[0].orig_height)
    _set_exact(scene)
    return scene


def _set_exact(scene: Any) -> None:
    render = scene.render
    render.resolution_percentage = 100
    render.dither_intensity = 0.0
    render.use_sequencer = True
    render.use_compositing = False
    render.image_settings.file_format = "PNG"
    render.image_settings.color_mode = "RGB"
    render.image_settings.color_depth = "8"
    render.image_settings.compression = 15
    scene.view_settings.view_transform = "Standard"
    scene.view_settings.look = "None"
    scene.view_settings.exposure = 0.0
    scene.view_settings.gamma = 1.0
    scene.view_settings.use_curve_mapping = False


@contextmanager
def _as_decoded(scene: Any) -> Iterator[None]:
    """The exact settings for a while in the user's own scene, everything as it was afterwards."""
    owners = (
        (scene.render, ("resolution_percentage", "dither_intensity", "use_sequencer",
                        "use_compositing", "filepath")),
        (scene.render.image_settings, ("file_format", "color_mode", "color_depth", "compression")),
        (scene.view_settings, ("view_transform", "look", "exposure", "gamma",
                               "use_curve_mapping")),
    )  # fmt: skip
    before = [(owner, name, getattr(owner, name)) for owner, names in owners for name in names]
    frame = scene.frame_current
    try:
        _set_exact(scene)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
        scene.frame_set(frame)


def _render(scene: Any, frame: int, path: Path) -> None:
    """Render a frame of the scene that is being edited."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scene.frame_set(frame)
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    if not path.is_file():
        raise RuntimeError(f"no file {path.name} was written")


def _render_in(scene: Any, frame: int, path: Path) -> None:
    """Render a frame of another scene: as an animation of one frame, since a still of another
    scene is rendered at the frame of the one that is being edited."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scene.frame_start = scene.frame_end = frame
    scene.render.filepath = str(path.with_name(f".{path.stem}.######"))
    bpy.ops.render.render(animation=True, scene=scene.name)
    path.with_name(f".{path.stem}.{frame:06d}.png").replace(path)
