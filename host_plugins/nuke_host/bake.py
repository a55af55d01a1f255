"""Bake: a ColorBridge becomes a plain Read of its result."""

from __future__ import annotations

from typing import Any

import nuke

from host_plugins.nuke_host.main_thread import one_step
from host_plugins.wire.errors import BridgeError

_KNOBS = ("file", "first", "last", "origfirst", "origlast", "raw", "colorspace", "on_error")


def bake(node: Any) -> Any:
    """Put a Read in the node's place, as one step of Undo; returns it.

    Raises BridgeError frame_missing when the node has no result yet.
    """
    result = node.node("RESULT")
    if not str(result["file"].value()):
        raise BridgeError(
            "frame_missing", "there is no result to bake", hint="Press Colorize range first."
        )
    with one_step("Bake ColorBridge"):
        with node.parent():
            read = nuke.createNode("Read", inpanel=False)
        for name in _KNOBS:
            read[name].setValue(result[name].value())
        read.setXYpos(node.xpos(), node.ypos())
        for follower in node.dependent():
            for place in range(follower.inputs()):
                if follower.input(place) is node:
                    follower.setInput(place, read)
        nuke.delete(node)
    return read
