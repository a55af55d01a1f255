"""ChromaBridge in DaVinci Resolve's menu Workspace > Scripts.

The one file for the Scripts/Utility folder; the installer writes the package's place into it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

PACKAGE_FOLDER = ""


def package_folder() -> str:
    """Where host_plugins and msgpack lie: as installed, else as noted in the user's folder."""
    if PACKAGE_FOLDER:
        return PACKAGE_FOLDER
    if os.environ.get("CHROMABRIDGE_PLUGINS"):
        return os.environ["CHROMABRIDGE_PLUGINS"]
    home = Path.home()
    if os.environ.get("CHROMABRIDGE_HOME"):
        folder = Path(os.environ["CHROMABRIDGE_HOME"])
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")) / "ChromaBridge"
    elif sys.platform == "darwin":
        folder = home / "Library" / "Application Support" / "ChromaBridge"
    else:
        share = os.environ.get("XDG_DATA_HOME") or home / ".local" / "share"
        folder = Path(share) / "chromabridge"
    noted = json.loads((folder / "install.json").read_text(encoding="utf-8"))
    return str(noted["plugin_folder"])


def start(names: dict[str, Any]) -> None:
    """Run the panel, or the default preset; all that can go wrong is told in a line."""
    try:
        folder = package_folder()
    except (OSError, ValueError, KeyError):
        print("ChromaBridge is not installed. Run: python3 install/bootstrap.py hosts")
        return
    if folder not in sys.path:
        sys.path.append(folder)
    from host_plugins.resolve_host.menu import main

    main(names, say=print)


start(globals())
