"""What the add-on knows between two events: the service, the panel, messages, and one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional

import bpy

from host_plugins.host_layer import Message, Panel, Service, Task, explain, load_settings
from host_plugins.wire.errors import BridgeError

if TYPE_CHECKING:
    from host_plugins.blender_host.runs import Run


@dataclass
class Bridge:
    """One a Blender. message: what the sidebar shows. status: a line about the run."""

    service: Service
    panel: Optional[Panel] = None
    effects: tuple[str, ...] = ()
    message: Optional[Message] = None
    status: str = ""
    run: Optional[Run] = None
    asking: Optional[Task[Panel]] = None
    shown: set[str] = field(default_factory=set)


_bridge: list[Bridge] = []


def bridge() -> Bridge:
    """The one bridge, made when it is first asked for."""
    if not _bridge:
        service = Service(
            load_settings(), name="blender", version=".".join(map(str, bpy.app.version))
        )
        _bridge.append(Bridge(service, service.remembered(), service.remembered_effects()))
    return _bridge[0]


def drop() -> None:
    """The add-on goes: end the run, close the connection."""
    while _bridge:
        old = _bridge.pop()
        if old.run is not None:
            old.run.cancel()
        old.service.close()


def tell(error: Exception) -> Message:
    """Keep an error for the sidebar; returns its message."""
    message = explain(error)
    bridge().message = message
    return message


def ask_panel(effect: str, *, start: bool) -> Task[Panel]:
    """Ask the server for a panel; `arrived` takes it in."""
    task = bridge().service.panel(effect, start=start)
    bridge().asking = task
    return task


def arrived(task: Task[Panel]) -> bool:
    """Take in what a task brought; True when there is a panel now."""
    known = bridge()
    known.asking = None
    if task.value is None:
        known.message = task.message
        return False
    known.panel, known.message = task.value, None
    known.effects = known.service.remembered_effects()
    return True


def need_panel() -> Panel:
    """The panel; raises BridgeError no_server when no server has described one yet."""
    panel = bridge().panel
    if panel is None:
        raise BridgeError("no_server", "no server has described its effects yet")
    return panel


def sequencer_scene(context: Any) -> Any:
    """The scene whose strips are edited; Blender 5 keeps one of its own for the sequencer."""
    return getattr(context, "sequencer_scene", None) or context.scene
