"""The effect `deep_exemplar`: Deep Exemplar (CVPR 2019) with the official MIT weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge_server import weights
from bridge_server.effects import params, performance
from bridge_server.effects.descriptor import Param, Value
from bridge_server.effects.effect import Effect, Loaded, LoadRequest

OWN_PARAMS = (
    Param(
        "official_look",
        "bool",
        "Official look",
        "The official driver's saturation: 1.25 times what Saturation says.",
        False,
    ),
    Param(
        "propagate",
        "bool",
        "Propagate",
        "Each frame sees the colors of the one before it. Off colors every frame alone.",
        True,
    ),
    Param(
        "first_frame_is_exemplar",
        "bool",
        "Exemplar is the first frame",
        "The shot's first frame begins from the exemplar's colors instead of gray.",
        False,
    ),
    Param(
        "use_half_resolution",
        "bool",
        "Half resolution",
        "The networks run at half of the working size, as the official driver does.",
        True,
        group="size",
    ),
    Param(
        "smooth",
        "bool",
        "Official smoother",
        "The official edge-aware smoothing of the chroma at working size.",
        False,
        group="size",
    ),
    Param(
        "fast_features",
        "bool",
        "Fast features",
        "Run the feature networks in bfloat16 too. Some matches flip to look-alikes.",
        False,
        group="performance",
        enabled_by=("precision", "bf16"),
    ),
)


def _load(request: LoadRequest) -> Loaded:
    from models.deep_exemplar.candidates import choose_convolution, choose_matcher
    from models.deep_exemplar.config import why_not_sage
    from models.deep_exemplar.networks import Precision, load_networks, stages

    found = weights.find("deep_exemplar", request.home, verify=True)
    plan = request.plan
    networks = load_networks(
        found.files["vgg19_conv"],
        found.files["nonlocal_net"],
        found.files["colornet"],
        device=plan.facts.device,
    )
    precision: Precision = "exact" if plan.build_precision().name == "fp32" else "balanced"
    if request.values.get("fast_features") and precision == "balanced":
        precision = "fast"
    compiler = request.compiler
    matcher = choose_matcher(plan.facts, precision)
    convolution = choose_convolution(plan.facts, precision, compiled=compiler is not None)
    built = stages(
        networks,
        precision=precision,
        rearranged=convolution.candidate.build(plan.facts),
        compiler=compiler,
        matcher=matcher.candidate.build(plan.facts),
    )
    notes = (*plan.lines(), f"networks: {precision}", str(matcher), str(convolution))
    if request.values.get("use_sage_attention"):
        notes = (*notes, f"use_sage_attention: {why_not_sage()[0]}")
    made_by = {"network": "Deep Exemplar", **found.made_by()}
    return Loaded(built, made_by, notes, compiler)


def _propagator(loaded: Loaded, values: Mapping[str, Value], memory: Any) -> Any:
    from models.deep_exemplar.config import DeepExemplarSettings
    from models.deep_exemplar.propagator import DeepExemplarPropagator

    settings = DeepExemplarSettings(
        propagate=bool(values["propagate"]),
        first_frame_is_exemplar=bool(values["first_frame_is_exemplar"]),
        use_half_resolution=memory.half_resolution,
        smooth=bool(values["smooth"]),
        match_workspace_bytes=memory.workspace_bytes,
    )
    return DeepExemplarPropagator(loaded.networks, settings)


def _saturation(values: Mapping[str, Value]) -> float:
    from models.deep_exemplar.config import OFFICIAL_LOOK_SATURATION

    look = OFFICIAL_LOOK_SATURATION if values["official_look"] else 1.0
    return look * float(values["saturation"])


EFFECT = Effect(
    id="deep_exemplar",
    label="Deep Exemplar",
    version=(1, 1),
    hint="Semantic matching against the exemplar (CVPR 2019).",
    params=(
        *params.common(768),
        *OWN_PARAMS,
        performance.precision(("fp32", "bf16"), "fp32"),
        performance.USE_TORCH_COMPILE,
        performance.USE_SAGE_ATTENTION,
        performance.REQUIRE,
    ),
    groups=performance.GROUPS_WITH_PERFORMANCE,
    load=_load,
    propagator=_propagator,
    saturation=_saturation,
    unavailable=lambda: weights.why_not("deep_exemplar"),
)
