"""What the Scripts menu does: open the panel, or run a saved preset where no window may open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, Optional

from host_plugins.host_layer import Service, load_settings
from host_plugins.host_layer.messages import explain
from host_plugins.resolve_host.colorize import Run
from host_plugins.resolve_host.host import ResolveHost, open_host
from host_plugins.resolve_host.options import DEFAULT_PRESET, load_preset
from host_plugins.resolve_host.panel_window import PanelWindow, ui_of
from host_plugins.resolve_host.steps import Step, drive
from host_plugins.wire.errors import BridgeError

Say = Callable[[str], None]


def main(
    namespace: Mapping[str, Any],
    *,
    say: Say,
    preset: str = DEFAULT_PRESET,
    host: Optional[ResolveHost] = None,
    service: Optional[Service] = None,
) -> bool:
    """Run from the menu; returns whether all went well. Never raises: Resolve shows no traceback.

    namespace: the launcher's globals. say: prints a line to Resolve's console.
    """
    try:
        host = host or open_host(namespace)
        settings = load_settings()
        service = service or Service(
            settings, name="resolve", version=".".join(str(n) for n in host.edition.version)
        )
    except BridgeError as problem:
        say(str(explain(problem)))
        return False
    try:
        ui = ui_of(host)
        if ui is not None:
            PanelWindow(host, service, ui).run()
            return True
        say(host.edition.sentence)
        return run_preset(host, service, preset, say=say)
    except BridgeError as problem:
        say(str(explain(problem)))
        return False
    finally:
        service.close()


def run_preset(host: ResolveHost, service: Service, preset: str, *, say: Say) -> bool:
    """Run a preset without a dialog; a line for each clip and stage, then the outcomes.

    Raises BridgeError.
    """
    run = Run.new(host, service, load_preset(preset))
    told: list[tuple[int, str]] = []

    def show(step: Step) -> None:
        if (step.clip, step.stage) not in told:
            told.append((step.clip, step.stage))
            say(step.sentence)

    try:
        drive(run.steps(), sleep=host.calls.sleep, show=show)
    finally:
        for outcome in run.outcomes:
            say(outcome.sentence)
            for note in outcome.notes:
                say(f"  {note}")
        for note in run.notes:
            say(note)
    return all(outcome.what in ("placed", "unchanged") for outcome in run.outcomes)
