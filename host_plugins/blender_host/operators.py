"""The buttons: connect, exemplars, preview, colorize, cancel, report."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, Callable

import bpy

from host_plugins.blender_host import properties, strips
from host_plugins.blender_host.bridge import (
    arrived,
    ask_panel,
    bridge,
    need_panel,
    sequencer_scene,
    tell,
)
from host_plugins.blender_host.rendering import render_shown
from host_plugins.blender_host.runs import Run
from host_plugins.blender_host.sidebar import show_sections
from host_plugins.host_layer import Pin, run_id
from host_plugins.wire.errors import BridgeError

TICK_S = 0.1


def refresh(effect: str, *, start: bool) -> None:
    """Ask for a panel, and take it in when it comes; without a GUI no timer ticks: wait then."""
    task = ask_panel(effect, start=start)

    def look() -> Any:
        if not task.done:
            return TICK_S
        if arrived(task):
            properties.make(need_panel())
            show_sections()
        _redraw()
        return None

    if bpy.app.background:
        with suppress(BridgeError):  # told by look, below
            task.result(60.0)
        look()
    else:
        bpy.app.timers.register(look, first_interval=0.02)


class _Button(bpy.types.Operator):  # type: ignore[misc]
    """Runs `press`; what goes wrong is shown in the sidebar and in Blender's report."""

    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012 (Blender reads it from the class)

    def execute(self, context: Any) -> set[str]:
        bridge().message = None
        try:
            self.press(context)
        except BridgeError as error:
            message = tell(error)
            self.report({"ERROR"}, str(message))
            return {"CANCELLED"}
        return {"FINISHED"}

    def press(self, context: Any) -> None:
        """What the button does; every button has its own. Blender's classes take no ABC."""
        raise NotImplementedError


class CHROMABRIDGE_OT_connect(_Button):
    """Look for the server; start one when none runs"""

    bl_idname = "chromabridge.connect"
    bl_label = "Start server"
    effect: bpy.props.StringProperty(default="", options={"HIDDEN"})  # type: ignore[valid-type]

    def press(self, context: Any) -> None:
        refresh(self.effect, start=True)
        if bpy.app.background and bridge().message is not None:
            raise BridgeError(bridge().message.code, str(bridge().message))  # type: ignore[union-attr]


class CHROMABRIDGE_OT_add_file(_Button):
    """Add a color picture of the frame under the playhead"""

    bl_idname = "chromabridge.add_file"
    bl_label = "Add file..."
    filepath: bpy.props.StringProperty(subtype="FILE_PATH")  # type: ignore[valid-type]
    filter_image: bpy.props.BoolProperty(default=True, options={"HIDDEN"})  # type: ignore[valid-type]
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})  # type: ignore[valid-type]

    def invoke(self, context: Any, _event: Any) -> set[str]:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def press(self, context: Any) -> None:
        scene = sequencer_scene(context)
        strip = strips.chosen(scene)
        path = Path(bpy.path.abspath(self.filepath))
        if not path.is_file():
            raise BridgeError("bad_exemplar", f"there is no picture {path}")
        _pin(strip, Pin(str(path), _content_frame(scene, strip)))


class CHROMABRIDGE_OT_add_shown(_Button):
    """Add what the sequencer shows at the playhead, such as a painted still above the strip"""

    bl_idname = "chromabridge.add_shown"
    bl_label = "Add at playhead"

    def press(self, context: Any) -> None:
        scene = sequencer_scene(context)
        strip = strips.chosen(scene)
        frame = _content_frame(scene, strip)
        name = f"{run_id('exemplar', {}, (), bpy.data.filepath, strip.name)}.{frame:06d}.png"
        path = bridge().service.settings.cache_root / "blender" / "exemplars" / name
        render_shown(scene, scene.frame_current, path)
        _pin(strip, Pin(str(path), frame))


class CHROMABRIDGE_OT_remove_exemplar(_Button):
    """Take this exemplar out of the list"""

    bl_idname = "chromabridge.remove_exemplar"
    bl_label = "Remove"
    place: bpy.props.IntProperty()  # type: ignore[valid-type]

    def press(self, context: Any) -> None:
        strip = strips.chosen(sequencer_scene(context))
        pins = strips.pins_of(strip)
        if 0 <= self.place < len(pins):
            pins.remove(self.place)
        strips.set_pins(strip, pins)


class CHROMABRIDGE_OT_goto_exemplar(_Button):
    """Move the playhead to this exemplar's frame"""

    bl_idname = "chromabridge.goto_exemplar"
    bl_label = "Go to"
    frame: bpy.props.IntProperty()  # type: ignore[valid-type]

    def press(self, context: Any) -> None:
        scene = sequencer_scene(context)
        scene.frame_set(round(strips.chosen(scene).frame_start) + self.frame)


class _Runner(_Button):
    """Runs a job: in a modal operator with a GUI, in a loop without one."""

    def begin(self, context: Any) -> Run:
        if bridge().run is not None:
            raise BridgeError("busy", "a strip is being colored already", hint="Cancel it first.")
        scene = sequencer_scene(context)
        run = self.make(scene, strips.chosen(scene))
        bridge().run = run
        return run

    def make(self, scene: Any, strip: Any) -> Run:
        """The run that this button begins; every runner has its own."""
        raise NotImplementedError

    def press(self, context: Any) -> None:
        run = self.begin(context)
        try:
            while not run.tick().ended:
                if not run.rendering:
                    run.job.wait(0.02)
        finally:
            bridge().run = None
        message = bridge().message
        if message is not None:
            raise BridgeError(message.code, message.text)

    def invoke(self, context: Any, _event: Any) -> set[str]:
        bridge().message = None
        try:
            self.begin(context)
        except BridgeError as error:
            self.report({"ERROR"}, str(tell(error)))
            return {"CANCELLED"}
        manager = context.window_manager
        self._timer = manager.event_timer_add(TICK_S, window=context.window)
        manager.progress_begin(0, 100)
        manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: Any, event: Any) -> set[str]:
        run = bridge().run
        if run is None:
            return self._leave(context, {"CANCELLED"})
        if event.type == "ESC":
            run.cancel()
            return {"RUNNING_MODAL"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        state = run.tick()
        context.window_manager.progress_update(int(100 * state.fraction))
        _redraw()
        if not state.ended:
            return {"RUNNING_MODAL"}
        bridge().run = None
        if state.message is not None:
            self.report({"ERROR"}, str(state.message))
        return self._leave(context, {"FINISHED"})

    def _leave(self, context: Any, outcome: set[str]) -> set[str]:
        context.window_manager.event_timer_remove(self._timer)
        context.window_manager.progress_end()
        _redraw()
        return outcome


class CHROMABRIDGE_OT_colorize(_Runner):
    """Color the whole strip into a new strip above it; frames done before are kept"""

    bl_idname = "chromabridge.colorize"
    bl_label = "Colorize"

    def make(self, scene: Any, strip: Any) -> Run:
        return Run(scene, strip)


class CHROMABRIDGE_OT_preview(_Runner):
    """Color the frame under the playhead"""

    bl_idname = "chromabridge.preview"
    bl_label = "Preview frame"

    def make(self, scene: Any, strip: Any) -> Run:
        return Run(scene, strip, preview=scene.frame_current)


class CHROMABRIDGE_OT_cancel(_Button):
    """Stop (also: Escape); finished frames are kept"""

    bl_idname = "chromabridge.cancel"
    bl_label = "Cancel"

    def press(self, context: Any) -> None:
        run = bridge().run
        if run is not None:
            run.cancel()


CLASSES: tuple[Callable[..., Any], ...] = (
    CHROMABRIDGE_OT_connect,
    CHROMABRIDGE_OT_add_file,
    CHROMABRIDGE_OT_add_shown,
    CHROMABRIDGE_OT_remove_exemplar,
    CHROMABRIDGE_OT_goto_exemplar,
    CHROMABRIDGE_OT_colorize,
    CHROMABRIDGE_OT_preview,
    CHROMABRIDGE_OT_cancel,
)


def _pin(strip: Any, pin: Pin) -> None:
    pins = strips.pins_of(strip)
    pins.add(pin)
    strips.set_pins(strip, pins)


def _content_frame(scene: Any, strip: Any) -> int:
    """The playhead counted from the strip's start. Raises BridgeError when it is beside it."""
    first, last = strips.frames_of(strip)
    if not first <= scene.frame_current <= last:
        raise BridgeError(
            "bad_exemplar",
            f"the playhead is at frame {scene.frame_current}, outside of {strip.name}",
            hint="Move it onto the strip.",
        )
    counted: int = scene.frame_current - round(strip.frame_start)
    return counted


def _redraw() -> None:
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "SEQUENCE_EDITOR":
                area.tag_redraw()
