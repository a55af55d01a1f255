"""Finding Resolve: by the globals of a menu script, or from outside by its scripting library."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Callable, Optional

from host_plugins.wire.errors import BridgeError

_MAC = "/Library/Application Support/Blackmagic Design/DaVinci Resolve/Developer/Scripting"
_MAC_LIB = (
    "/Applications/DaVinci Resolve/DaVinci Resolve.app/Contents/Libraries/Fusion/fusionscript.so"
)


def from_menu(namespace: Mapping[str, Any]) -> Any:
    """The Resolve object out of a menu script's globals; None when there is none.

    namespace: the launcher's globals(): resolve, app, bmd, fusion.
    """
    found = namespace.get("resolve")
    app = namespace.get("app") or namespace.get("fusion") or namespace.get("fu")
    if found is None and callable(getattr(app, "GetResolve", None)):
        found = app.GetResolve()  # type: ignore[union-attr]
    bmd = namespace.get("bmd")
    if found is None and callable(getattr(bmd, "scriptapp", None)):
        found = bmd.scriptapp("Resolve")  # type: ignore[union-attr]
    return found


def from_outside(
    *,
    environment: Optional[MutableMapping[str, str]] = None,
    platform: str = sys.platform,
    load: Callable[[str], Any] = importlib.import_module,
) -> Any:
    """Connect to the Resolve that runs on this machine.

    Sets RESOLVE_SCRIPT_API, RESOLVE_SCRIPT_LIB and, on Windows, FUSION_PYTHON3_HOME where they are
    not set: the library picks an interpreter by the last one, and crashes with another one's.
    Raises BridgeError host_not_found.
    """
    environment = os.environ if environment is None else environment
    for name, value in script_environment(environment, platform).items():
        environment.setdefault(name, value)
    modules = str(_pure(environment["RESOLVE_SCRIPT_API"], platform) / "Modules")
    if modules not in sys.path:
        sys.path.append(modules)  # behind everything: the folder is not ours
    try:
        library = load("DaVinciResolveScript")
    except (ImportError, OSError) as problem:
        raise BridgeError(
            "host_not_found",
            f"Resolve's scripting module cannot be loaded: {problem}",
            hint=f"Install Resolve, or set RESOLVE_SCRIPT_API; it was looked for in {modules}.",
        ) from None
    found = library.scriptapp("Resolve")
    if found is None:
        raise BridgeError(
            "host_not_found",
            "Resolve does not let scripts in",
            hint="Start Resolve Studio; in Preferences > System > General set 'External scripting "
            "using' to Local. The free edition is driven from its Scripts menu only.",
        )
    return found


def script_environment(environment: Mapping[str, str], platform: str) -> dict[str, str]:
    """The variables that Resolve's own module wants, by system."""
    if platform == "darwin":
        return {"RESOLVE_SCRIPT_API": _MAC, "RESOLVE_SCRIPT_LIB": _MAC_LIB}
    if platform == "win32":
        data = environment.get("PROGRAMDATA", r"C:\ProgramData")
        files = environment.get("PROGRAMFILES", r"C:\Program Files")
        support = r"Blackmagic Design\DaVinci Resolve\Support\Developer\Scripting"
        library = r"Blackmagic Design\DaVinci Resolve\fusionscript.dll"
        return {
            "RESOLVE_SCRIPT_API": str(PureWindowsPath(data) / support),
            "RESOLVE_SCRIPT_LIB": str(PureWindowsPath(files) / library),
            "FUSION_PYTHON3_HOME": sys.base_prefix,
        }
    root = "/opt/resolve"
    if not os.path.isdir(root) and os.path.isdir("/home/resolve"):  # noqa: PTH112
        root = "/home/resolve"
    return {
        "RESOLVE_SCRIPT_API": f"{root}/Developer/Scripting",
        "RESOLVE_SCRIPT_LIB": f"{root}/libs/Fusion/fusionscript.so",
    }


def _pure(path: str, platform: str) -> PurePath:
    return PureWindowsPath(path) if platform == "win32" else PurePosixPath(path)
