"""The effects by name. Order is the order in which hosts list them; the first usable is default."""

from __future__ import annotations

from bridge_server.effects import colormnet, deep_exemplar, lookup, starter
from bridge_server.effects.effect import Effect
from host_plugins.wire.errors import BridgeError

EFFECTS: dict[str, Effect] = {
    effect.id: effect
    for effect in (colormnet.EFFECT, deep_exemplar.EFFECT, starter.EFFECT, lookup.EFFECT)
}


def find(name: str) -> Effect:
    """The effect of that name. Raises BridgeError `unknown_effect`."""
    effect = EFFECTS.get(name)
    if effect is None:
        raise BridgeError(
            "unknown_effect", f"expected one of {', '.join(offered())}, got {name[:60]!r}"
        )
    return effect


def offered() -> tuple[str, ...]:
    """The effects shown to users; usable ones first, so that the first one is the default."""
    shown = [effect for effect in EFFECTS.values() if not effect.hidden]
    usable = [effect.id for effect in shown if effect.unavailable() is None]
    return (*usable, *(effect.id for effect in shown if effect.id not in usable))
