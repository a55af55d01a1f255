"""One effect: how it is described, whether it can run here, and how its networks are built.

The front asks the first two and never imports torch; only a worker calls `load` and `propagator`,
and they import what they need when called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bridge_server.effects.descriptor import Clip, Descriptor, Group, Param, Value
from host_plugins.wire.errors import BridgeError

SOURCE = Clip("Source", "Black-and-white plate")
OUTPUT = Clip("Output", "Colored picture")


def _available() -> None:
    return None


def _saturation(values: Mapping[str, Value]) -> float:
    return float(values["saturation"])


@dataclass(frozen=True)
class Loaded:
    """Networks in memory, shared by all sessions of an effect.

    networks: whatever the effect's `propagator` takes. made_by: name, weights, their SHA-256,
    license and attribution, for every record. notes: accelerator choices, one line each.
    compiler: the accel.compiling.Compiler that wraps parts of them, None when they run eagerly.
    """

    networks: Any
    made_by: Mapping[str, str]
    notes: tuple[str, ...] = ()
    compiler: Any = None


@dataclass(frozen=True)
class LoadRequest:
    """What a worker hands to `load`.

    plan: an accel.plan.Plan, None for an effect without a network. home: where this user's weights
    lie. values: the effective parameters. compiler: an accel.compiling.Compiler made from the plan,
    None to run eagerly.
    """

    plan: Any
    home: Path
    values: Mapping[str, Value]
    compiler: Any = None


@dataclass(frozen=True)
class Effect:
    """See the module. hidden ones are not offered, but can be opened by name.

    unavailable: returns the error that opening would give (weights missing, license not accepted),
    or None. load: builds the networks. propagator: one session's propagator from the networks, the
    effective parameters, and the accel.memory.MemoryPlan for its size (None without a network).
    saturation: what the effective parameters multiply the chroma by.
    """

    id: str
    label: str
    version: tuple[int, int]
    hint: str
    params: tuple[Param, ...]
    groups: tuple[Group, ...]
    load: Callable[[LoadRequest], Loaded]
    propagator: Callable[[Loaded, Mapping[str, Value], Any], Any]
    unavailable: Callable[[], BridgeError | None] = _available
    saturation: Callable[[Mapping[str, Value]], float] = _saturation
    notice: str = ""
    hidden: bool = False

    def describe(self) -> dict[str, Any]:
        """What does not depend on a context: id, label, version, contexts."""
        return {
            "id": self.id,
            "label": self.label,
            "version": list(self.version),
            "contexts": ["filter", "general"],
            "hint": self.hint,
            "notice": self.notice,
        }

    def describe_in_context(self, context: Literal["filter", "general"]) -> Descriptor:
        """Clips and parameters. In a filter the exemplars come with the session, not as a clip."""
        exemplar = Clip("Exemplar", "Color stills", optional=True, components=("RGBA", "RGB"))
        clips = (SOURCE, OUTPUT) if context == "filter" else (SOURCE, exemplar, OUTPUT)
        return Descriptor(
            self.id,
            self.label,
            self.version,
            context,
            clips,
            self.params,
            self.groups,
            self.hint,
            self.notice,
        )
