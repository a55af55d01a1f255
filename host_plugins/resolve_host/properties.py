"""Settings and clip properties as text, by name where that is allowed and out of the map where not.

From 21.1 on GetSetting is deprecated for GetSettings, and GetClipProperty by name for the map.
"""

from __future__ import annotations

from typing import Any

from host_plugins.resolve_host.calls import Calls, Refused, filled


def setting(calls: Calls, owner: Any, name: str) -> str:
    """A setting of a project or timeline; "" when it has none of that name."""
    if calls.has(owner, "GetSetting"):
        told = calls.ask(owner, "GetSetting", name)
    else:
        told = (calls.get(owner, "GetSettings", default={}) or {}).get(name)
    return "" if told is None else str(told)


def needed_setting(calls: Calls, owner: Any, name: str) -> str:
    """A setting that must be there; asked twice. Raises Refused."""
    for _ in range(2):
        told = setting(calls, owner, name)
        if told:
            return told
        calls.sleep(0.6)
    calls.check_alive()
    raise Refused("GetSetting", f"Resolve does not tell the setting {name}")


def clip_property(calls: Calls, media: Any, name: str) -> str:
    """A property of a media pool item; "" when it has none, as generators have no file."""
    told = calls.get(media, "GetClipProperty", name)
    if isinstance(told, dict):
        told = told.get(name)
    elif not filled(told):
        every = calls.get(media, "GetClipProperty", default={})
        told = every.get(name) if isinstance(every, dict) else None
    return "" if told is None else str(told)
