"""The effect `colormnet`: ColorMNet with the official weights, which are non-commercial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bridge_server import weights
from bridge_server.effects import params, performance
from bridge_server.effects.descriptor import Group, Param, Value
from bridge_server.effects.effect import Effect, Loaded, LoadRequest
from host_plugins.wire.errors import BridgeError

MEMORY = Group("memory", "Memory", open=False)
_CUSTOM = ("memory_preset", "custom")


def _memory(name: str, label: str, hint: str, default: int, low: int, high: int) -> Param:
    return Param(
        name,
        "int",
        label,
        hint,
        default,
        low=low,
        high=high,
        display=(max(low, 1), min(high, default * 4)),
        group="memory",
        enabled_by=_CUSTOM,
    )


MEMORY_PARAMS = (
    Param(
        "memory_preset",
        "choice",
        "Memory constants",
        "Where the constants below come from: the memory mode, or set by hand.",
        "mode",
        choices=("mode", "custom"),
        labels=("By memory mode", "Custom"),
        group="memory",
    ),
    _memory("mem_every", "Memory frame every", "Frames between two memory frames.", 5, 1, 1000),
    _memory(
        "deep_update_every",
        "Deep update every",
        "Frames between deep updates of the hidden state; -1 follows the memory frames.",
        -1,
        -1,
        1000,
    ),
    _memory(
        "min_mid_term_frames",
        "Mid-term frames, least",
        "Frames that are never condensed.",
        5,
        1,
        99,
    ),
    _memory(
        "max_mid_term_frames", "Mid-term frames, most", "Frames at which it condenses.", 10, 2, 200
    ),
    _memory("num_prototypes", "Prototypes", "Elements that one condensing leaves.", 128, 1, 4096),
    _memory(
        "max_long_term_elements",
        "Long-term elements, most",
        "The least used leave beyond this.",
        10_000,
        1,
        200_000,
    ),
    _memory("top_k", "Elements read", "Memory elements that one pixel reads.", 30, 1, 1000),
    Param(
        "long_term",
        "bool",
        "Long-term memory",
        "Off keeps every memory frame: the memory of a shot then grows with its length.",
        True,
        group="memory",
        enabled_by=_CUSTOM,
    ),
)
FIRST_FRAME_IS_EXEMPLAR = Param(
    "first_frame_is_exemplar",
    "bool",
    "Exemplar is the frame",
    "A frame with an exemplar pinned to it comes back with that exemplar's colors untouched. Off "
    "when exemplars are other pictures than the frames.",
    False,
)


def _load(request: LoadRequest) -> Loaded:
    from models.colormnet import config, network
    from models.weights import read_tensors

    found = weights.find("colormnet", request.home, verify=True)
    plan = request.plan
    format_ = plan.build_precision()
    reduced = config.Precision(format_.dtype, format_.dtype)
    path = found.files["colormnet"]
    built = network.build(
        read_tensors(path),
        source=path.name,
        device=plan.facts.device,
        precision=config.EXACT if format_.name == "fp32" else reduced,
        attention=plan.build_attention(),
        correlation=plan.build_correlation(),
    )
    compiler = request.compiler
    if compiler is not None:
        compiler.install(built, plan.traits.compiled)
    made_by = {"network": "ColorMNet", **found.made_by()}
    return Loaded(built, made_by, plan.lines(), compiler)


def _propagator(loaded: Loaded, values: Mapping[str, Value], memory: Any) -> Any:
    from models.colormnet.config import ColorMNetSettings, MemorySettings
    from models.colormnet.propagator import ColorMNetPropagator

    if values["memory_preset"] == "custom":
        names = [p.name for p in MEMORY_PARAMS if p.name != "memory_preset"]
        constants: dict[str, Any] = {name: values[name] for name in names}
        try:
            kept = MemorySettings(**constants)
        except ValueError as error:
            raise BridgeError("bad_param", str(error)) from None
    else:
        kept = MemorySettings.preset(memory.mode.name)
    kept = replace(kept, workspace_bytes=memory.workspace_bytes)
    settings = ColorMNetSettings(kept, bool(values["first_frame_is_exemplar"]))
    return ColorMNetPropagator(loaded.networks, settings)


EFFECT = Effect(
    id="colormnet",
    label="ColorMNet",
    version=(1, 0),
    hint="Memory bank with DINOv2 features (ECCV 2024); the best colors, for whole shots.",
    notice="Official weights: CC BY-NC-SA 4.0, not for commercial use.",
    params=(
        *params.common(768),
        FIRST_FRAME_IS_EXEMPLAR,
        performance.MEMORY_MODE,
        performance.precision(("fp32", "fp16", "bf16")),
        performance.USE_TORCH_COMPILE,
        performance.USE_SAGE_ATTENTION,
        performance.CORRELATION_SAMPLER,
        performance.REQUIRE,
        *MEMORY_PARAMS,
    ),
    groups=(*performance.GROUPS_WITH_PERFORMANCE, MEMORY),
    load=_load,
    propagator=_propagator,
    unavailable=lambda: weights.why_not("colormnet"),
)
