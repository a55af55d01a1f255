"""Colorize from a terminal or a render farm, inside Nuke without a GUI.

    nuke -t farm.py --script shot.nk --node ColorBridge1 [--range=1001-1100] [--save]

Write --range with "=": Nuke takes a last argument that looks like a range for itself.
Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 cancelled. The final Write renders in a second
job, once the results are there: Nuke does not render inside a render.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, Optional

import nuke

DONE, FAILED, USAGE, CANCELLED = 0, 1, 2, 3


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one node of one script; returns the exit code."""
    from host_plugins.host_layer import explain
    from host_plugins.nuke_host import group
    from host_plugins.nuke_host.buttons import service
    from host_plugins.wire.errors import BridgeError

    asked = _arguments(arguments)
    nuke.scriptOpen(asked.script)
    node = nuke.toNode(asked.node)
    if not group.is_colorbridge(node):
        _say(f"failed: {asked.script} has no ColorBridge node named {asked.node}")
        return USAGE
    try:
        state = _run(node, asked, service())
    except BridgeError as error:
        _say(f"failed: {explain(error)}")
        return FAILED
    if state.stage != "done":
        _say(f"{state.stage}: {state.message or 'finished frames are kept'}")
        return CANCELLED if state.stage == "cancelled" else FAILED
    if asked.save:
        nuke.scriptSave(asked.script)
    _say(f"done: {state.done} frames, {state.cached} of them kept from before")
    return DONE


def _run(node: Any, asked: argparse.Namespace, service: Any) -> Any:
    from host_plugins.nuke_host.plan import make_plan
    from host_plugins.nuke_host.runs import run_blocking

    if asked.range:
        first, _, last = asked.range.partition("-")
        node["cb_range"].setValue("custom")
        node["cb_first"].setValue(int(first))
        node["cb_last"].setValue(int(last or first))
    if asked.folder:
        node["cb_folder"].setValue(asked.folder)
    panel = service.panel(node["cb_effect"].value(), start=True).result()
    plan = make_plan(node, panel, service.settings)
    return run_blocking(node, plan, service, tell=_say)


def _arguments(arguments: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nuke -t farm.py", description=__doc__)
    parser.add_argument("--script", required=True, help="the .nk file")
    parser.add_argument("--node", default="ColorBridge1", help="the node's full name")
    parser.add_argument("--range", default="", help="such as 1001-1100; else as the node says")
    parser.add_argument("--folder", default="", help="shared folder for the results")
    parser.add_argument("--save", action="store_true", help="save the script with the result in it")
    return parser.parse_args(arguments)


def _say(line: str) -> None:
    sys.stdout.write(f"ColorBridge {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
