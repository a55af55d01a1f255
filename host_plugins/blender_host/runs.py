"""A run: one strip's job, carried on by ticks of a timer (or of a loop, without a GUI)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import bpy

from host_plugins.blender_host import strips
from host_plugins.blender_host.bridge import bridge, need_panel
from host_plugins.blender_host.properties import values
from host_plugins.blender_host.rendering import StripRender
from host_plugins.host_layer import JobSpec, JobState, Pin, Pins, PlateFile, PlateQueue, run_id
from host_plugins.host_layer.progress import in_words
from host_plugins.wire.errors import BridgeError


class Run:
    """Colorize a strip's frames, or one of them as a preview. Main thread only."""

    def __init__(self, scene: Any, strip: Any, *, preview: Optional[int] = None) -> None:
        panel = need_panel()
        pins = strips.pins_of(strip)
        if not len(pins):
            raise BridgeError("exemplar_missing", "expected at least one exemplar, got none")
        first, last = strips.frames_of(strip)
        if preview is not None:
            if not first <= preview <= last:
                raise BridgeError(
                    "frame_missing", f"frame {preview} is outside of {strip.name}",
                    hint="Move the playhead onto the strip.",
                )  # fmt: skip
            first = last = preview
        self.scene, self.strip, self.preview = scene.name, strip.name, preview is not None
        self.first = first
        self._render: Optional[StripRender] = None
        self._finished: dict[int, Path] = {}
        self._over = False
        files = strips.own_files(strip, first, last)
        self._start(scene, strip, panel.effect, values(scene, panel), pins, files, last)

    def _start(
        self,
        scene: Any,
        strip: Any,
        effect: str,
        parameters: dict[str, Any],
        pins: Pins,
        files: Optional[list[PlateFile]],
        last: int,
    ) -> None:
        start = round(strip.frame_start)
        project = Path(bpy.data.filepath).stem or "untitled"
        service = bridge().service
        run = run_id(effect, parameters, pins, self._source(strip), self.preview and self.first)
        folder = service.settings.cache_root / "blender" / project / run
        at = [Pin(p.path, None if p.frame is None else p.frame + start) for p in pins]
        linear = files is not None and files[0].path.suffix.lower() == ".exr"
        spec = JobSpec(
            effect=effect,
            values=parameters,
            pins=tuple(at),
            folder=folder,
            encoding="exr" if linear else "png",
            total=last - self.first + 1,
            priority="interactive" if self.preview else "batch",
            facts={
                "strip": strip.name,
                "color space": strip.colorspace_settings.name,
                "plate": "its own files" if files else "rendered, 8-bit PNG, as decoded",
            },
        )
        if files is None:
            queue = PlateQueue()
            pattern = f"{folder.as_posix()}/plate.%06d.png"
            self._render = StripRender(strip, self.first, last, pattern, queue)
            self.job = service.start(spec, queue)
        else:
            self.job = service.start(spec, files)

    def tick(self) -> JobState:
        """Render a frame if one is due, look at the job, place the result at the end."""
        if self._render is not None and self._render.busy:
            self._render.step()
        state = self.job.poll()
        self._finished.update(state.finished)
        bridge().status = _status(state)
        if state.ended and not self._over:
            self._over = True
            if self._render is not None:
                self._render.close()
            bridge().message = state.message
            self._place()
        return state

    @property
    def rendering(self) -> bool:
        """Blender itself has work to do, so that the next tick should come soon."""
        return self._render is not None and self._render.busy

    def cancel(self) -> None:
        """Stop; what is finished is placed."""
        self.job.cancel()

    def _place(self) -> None:
        scene = bpy.data.scenes.get(self.scene)
        strip = strips.all_strips(scene).get(self.strip) if scene is not None else None
        if strip is None or not self._finished:
            return
        name = strips.PREVIEW if self.preview else strips.result_name(strip)
        strips.remove_strip(scene, strips.PREVIEW)
        strips.remove_strip(scene, name)
        paths = [self._finished[frame] for frame in sorted(self._finished)]
        strips.place_above(scene, strip, paths, self.first, name=name)

    @staticmethod
    def _source(strip: Any) -> str:
        return str(strip.filepath if strip.type == "MOVIE" else strip.directory)


def _status(state: JobState) -> str:
    if state.stage == "done":
        kept = f", {state.cached} of them from before" if state.cached else ""
        return f"Done: {state.done} frames{kept}."
    if state.stage == "failed":
        return ""
    if state.stage == "cancelled":
        return f"Cancelled; {state.done} frames are kept."
    if state.stage in ("waiting", "connecting"):
        return "Looking for the server..."
    if state.stage == "loading":
        return "Getting the network ready..."
    left = in_words(state.eta_s)
    return f"{state.done} of {state.total} frames" + (f", {left} left" if left else "")
