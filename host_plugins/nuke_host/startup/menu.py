"""Nuke runs this at start-up when it has a GUI: the ColorBridge commands."""

import sys

import nuke


def _create() -> None:
    if sys.version_info < (3, 9):  # noqa: UP036 (Nuke 13 reads this file too)
        nuke.message(
            "ColorBridge needs Nuke 14 or newer to work; scripts that hold its results open here."
        )
        return
    from host_plugins.nuke_host.buttons import create

    create()


nuke.menu("Nodes").addMenu("ChromaBridge", icon="colorbridge.png").addCommand(
    "ColorBridge", _create, icon="colorbridge.png"
)
