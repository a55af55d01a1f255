"""ChromaBridge among Blender's add-ons: leads to the plugin's own folder.

The one file for the scripts/addons folder; the installer writes the package's place into it.
"""

import os
import sys

bl_info = {
    "name": "ChromaBridge",
    "description": "Colorize black-and-white strips from color stills",
    "author": "ChromaBridge",
    "version": (0, 1, 0),
    "blender": (3, 4, 0),
    "location": "Video Sequencer > Sidebar > ChromaBridge",
    "category": "Sequencer",
}

PACKAGE_FOLDER = ""


def register() -> None:
    """Blender enables the add-on."""
    folder = PACKAGE_FOLDER or os.environ.get("CHROMABRIDGE_PLUGINS", "")
    if folder and folder not in sys.path:
        sys.path.append(folder)  # behind Blender's own
    from host_plugins.blender_host import addon

    addon.register()


def unregister() -> None:
    """Blender disables the add-on."""
    from host_plugins.blender_host import addon

    addon.unregister()
