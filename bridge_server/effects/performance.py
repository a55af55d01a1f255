"""Parameters that ask for accelerators, under the seed's names; plans answer with reasons."""

from __future__ import annotations

from collections.abc import Mapping

from bridge_server.effects.descriptor import Group, Param, Value
from bridge_server.effects.params import GROUPS

PERFORMANCE = Group("performance", "Performance", open=False)
GROUPS_WITH_PERFORMANCE = (*GROUPS, PERFORMANCE)

USE_TORCH_COMPILE = Param(
    "use_torch_compile",
    "choice",
    "Compile",
    "Compile the network at warm-up: on, off, or auto (where it pays). The first frame waits.",
    "off",
    choices=("off", "auto", "on"),
    group="performance",
)
USE_SAGE_ATTENTION = Param(
    "use_sage_attention",
    "bool",
    "SageAttention",
    "Run the transformer's attention in 8 bits where the network and the device can.",
    False,
    group="performance",
)
CORRELATION_SAMPLER = Param(
    "correlation_sampler",
    "choice",
    "Correlation sampler",
    "Use the compiled sampler for the local attention when it is installed.",
    "auto",
    choices=("off", "auto", "on"),
    group="performance",
)
REQUIRE = Param(
    "require",
    "string",
    "Require",
    "Accelerators that must be in use, separated by commas: cuda, compile, sage, sampler, fp16, "
    "bf16, fp32. A missing one is an error instead of a fallback.",
    "",
    group="performance",
)


def precision(formats: tuple[str, ...], default: str = "auto") -> Param:
    """The number format of the heavy layers, out of those the network runs in."""
    return Param(
        "precision",
        "choice",
        "Precision",
        "Number format of the heavy layers; auto takes what is fast and safe on the device. "
        "Similarities, softmax and color stay float32.",
        default,
        choices=("auto", *formats),
        group="performance",
    )


MEMORY_MODE = Param(
    "memory_mode",
    "choice",
    "Memory mode",
    "How much the memory bank keeps; auto goes by the device's memory.",
    "auto",
    choices=("auto", "low_memory", "balanced", "high_quality"),
    labels=("Auto", "Low memory", "Balanced", "High quality"),
    group="performance",
)

SWITCHES = (
    "use_torch_compile",
    "use_sage_attention",
    "correlation_sampler",
    "precision",
    "memory_mode",
    "use_half_resolution",
)


def switches_of(values: Mapping[str, Value]) -> dict[str, Value]:
    """What these parameters ask of a plan, by the names of accel.plan.Switches."""
    return {name: values[name] for name in SWITCHES if name in values}


def required(values: Mapping[str, Value]) -> tuple[str, ...]:
    """The words of `require`."""
    return tuple(word.strip() for word in str(values.get("require", "")).split(",") if word.strip())
