"""The effect `starter`: our own small network, whose weights ship with the project."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge_server.effects import params, performance
from bridge_server.effects.descriptor import Param, Value
from bridge_server.effects.effect import Effect, Loaded, LoadRequest
from host_plugins.wire.errors import BridgeError

TEMPORAL_BLEND = Param(
    "temporal_blend",
    "double",
    "Temporal blend",
    "How much of the last frame's colors optical flow may carry on where it is sure. It is halved "
    "until the shot passes a frame that an exemplar is pinned to; 0 is off.",
    0.99,
    low=0.0,
    high=1.0,
    display=(0.0, 1.0),
)
SELF_ENSEMBLE = Param(
    "self_ensemble",
    "bool",
    "Self-ensemble",
    "Color the mirrored frame too and average both: closer and calmer colors in twice the time.",
    False,
)
WEIGHTS = Path(__file__).resolve().parents[2] / "models" / "starter" / "starter.safetensors"


def _unavailable() -> BridgeError | None:
    if WEIGHTS.is_file():
        return None
    return BridgeError(
        "weights_missing",
        f"expected the packaged weights {WEIGHTS.name}, they are not there",
        hint="Install ChromaBridge again.",
    )


def _load(request: LoadRequest) -> Loaded:
    from models.starter.flow import why_no_flow
    from models.starter.loading import load_starter

    plan = request.plan
    built = load_starter(WEIGHTS, device=plan.facts.device, precision=plan.build_precision().name)
    if request.compiler is not None:
        request.compiler.install(built, plan.traits.compiled)
    made_by = {
        "network": "Starter",
        "weights": WEIGHTS.name,
        "sha256": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
        "license": "Apache-2.0",
        "commercial": "yes",
        "attribution": "ChromaBridge; pictures it learnt from are listed in its NOTICE",
    }
    flow = [f"temporal_blend: off ({reason})" for reason in why_no_flow()]
    return Loaded(built, made_by, (*plan.lines(), *flow), request.compiler)


def _propagator(loaded: Loaded, values: Mapping[str, Value], memory: Any) -> Any:
    from models.starter.flow import why_no_flow
    from models.starter.propagator import StarterPropagator, StarterSettings

    blend = 0.0 if why_no_flow() else float(values["temporal_blend"])
    settings = StarterSettings(blend, self_ensemble=bool(values["self_ensemble"]))
    return StarterPropagator(loaded.networks, settings)


EFFECT = Effect(
    id="starter",
    label="Starter (built in)",
    version=(1, 2),
    hint="Our own small network: right colors in seconds, on any machine, from its exemplars "
    "alone.",
    params=(
        *params.common(854),
        TEMPORAL_BLEND,
        SELF_ENSEMBLE,
        performance.precision(("fp32", "bf16")),
        performance.USE_TORCH_COMPILE,
        performance.REQUIRE,
    ),
    groups=performance.GROUPS_WITH_PERFORMANCE,
    load=_load,
    propagator=_propagator,
    unavailable=_unavailable,
)
