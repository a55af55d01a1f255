"""The effect `lookup`: the baseline without a network, for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge_server.effects import params
from bridge_server.effects.descriptor import Value
from bridge_server.effects.effect import Effect, Loaded, LoadRequest


def _load(request: LoadRequest) -> Loaded:
    return Loaded(None, {"network": "lookup", "weights": "none", "license": "Apache-2.0"})


def _propagator(loaded: Loaded, values: Mapping[str, Value], memory: Any) -> Any:
    from models.lookup import LookupPropagator

    return LookupPropagator()


EFFECT = Effect(
    id="lookup",
    label="Lookup (baseline)",
    version=(1, 0),
    hint="Gives each luma the mean chroma that the exemplars have there. For tests only.",
    params=params.common(512),
    groups=params.GROUPS,
    load=_load,
    propagator=_propagator,
    hidden=True,
)
