"""One frame in color, fast: a still out of Resolve, through the server, back as a picture."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

from host_plugins.host_layer import JobSpec, Pin, Pins, PlateFile, Service
from host_plugins.resolve_host.clips import choose_clips
from host_plugins.resolve_host.exemplars import playhead
from host_plugins.resolve_host.host import ResolveHost, Watch
from host_plugins.resolve_host.markers import pins_of
from host_plugins.resolve_host.options import Options
from host_plugins.resolve_host.steps import Step, waiting
from host_plugins.resolve_host.stills import export_frame
from host_plugins.wire.errors import BridgeError

POLL_S = 0.1


@dataclass(frozen=True)
class Preview:
    """frame: the absolute timeline frame. before, after: PNG files."""

    clip: str
    frame: int
    before: Path
    after: Path
    notes: tuple[str, ...] = ()


def preview(
    host: ResolveHost, service: Service, options: Options, folder: Path
) -> Generator[Step, None, Preview]:
    """Color the frame at the playhead, or the first one of the clip when the playhead is not on it.

    It stands alone: exemplars pinned to other frames give their colors, but no motion is followed.
    Raises BridgeError.
    """
    watch, calls = Watch(host), host.calls
    notes: list[str] = []
    clip = choose_clips(host, watch.timeline, options.clips)[0][0]
    pins = Pins((*pins_of(calls, clip), *options.exemplars))
    pins.pictures()
    here = playhead(host, watch)
    frame = here if here in clip.range else clip.range.first
    yield Step("plate", 0, 1)
    index = clip.index_at(frame)
    before = export_frame(host, watch, clip, frame, folder / f"before.{index:06d}.png", notes)
    effect = options.effect or (yield from waiting(service.effects(start=True)))[0]
    panel = yield from waiting(service.panel(effect, start=True))
    spec = JobSpec(
        effect=effect,
        values={k: v for k, v in options.values.items() if panel.control(k) is not None},
        pins=tuple(replace(pin, frame=None) for pin in _distinct(pins)),
        folder=folder,
        encoding="png",
        total=1,
        name="after",
        priority="interactive",
    )
    job = service.start(spec, [PlateFile(index, before)])
    ended = False
    try:
        while True:
            state = job.poll()
            if state.ended:
                ended = True
                break
            yield Step("color", 0, 1, state.note, pause_s=POLL_S)
    finally:
        if not ended:
            job.cancel()
    if state.message is not None:
        raise BridgeError(
            state.message.code or "internal", state.message.title, hint=state.message.text
        )
    after = Path(spec.pattern % index)
    if not after.is_file():
        raise BridgeError("frame_missing", "expected one colored frame, got none")
    return Preview(clip.name, frame, before, after, tuple(notes))


def _distinct(pins: Pins) -> list[Pin]:
    """Each picture once, since none is tied to a frame here."""
    return list({pin.path: pin for pin in pins}.values())
