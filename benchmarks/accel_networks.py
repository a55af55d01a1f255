"""Networks for the accel benchmarks, with weights that are a function of their names."""

from __future__ import annotations

import copy
import importlib
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from accel.compiling import Compiler
from accel.memory import MemoryPlan
from accel.plan import Plan
from models.colormnet.config import ColorMNetSettings, MemorySettings, Precision
from models.colormnet.network import ColorMNet
from models.colormnet.network import build as build_colormnet
from models.colormnet.propagator import ColorMNetPropagator
from models.deep_exemplar.config import DeepExemplarSettings
from models.deep_exemplar.networks import stages
from models.deep_exemplar.propagator import DeepExemplarPropagator
from models.propagator import Propagator

_TESTS = Path(__file__).resolve().parents[1] / "tests" / "network"
EFFECTS = ("colormnet", "deep_exemplar")


def build(plan: Plan, memory: MemoryPlan, compiler: Compiler | None) -> Propagator:
    """A fresh propagator of plan.effect as the plan says."""
    return (
        _colormnet(plan, memory, compiler)
        if plan.effect == "colormnet"
        else _deep(plan, memory, compiler)
    )


def prepare(effect: str) -> None:
    """Make the filled tensors now, so that no measurement of memory holds them."""
    if effect == "colormnet":
        _colormnet_tensors()
    else:
        _helper("deep_exemplar_recipe").networks()


def _colormnet(plan: Plan, memory: MemoryPlan, compiler: Compiler | None) -> Propagator:
    dtype = plan.build_precision().dtype
    network = build_colormnet(
        _colormnet_tensors(),
        source="filled",
        device=plan.facts.device,
        precision=Precision(dtype, dtype),
        attention=plan.build_attention(),
        correlation=plan.build_correlation(),
    )
    if compiler is not None:
        compiler.install(network, plan.traits.compiled)
    settings = replace(
        MemorySettings.preset(memory.mode.name), workspace_bytes=memory.workspace_bytes
    )
    return ColorMNetPropagator(network, ColorMNetSettings(settings))


def _deep(plan: Plan, memory: MemoryPlan, compiler: Compiler | None) -> Propagator:
    networks = copy.deepcopy(_helper("deep_exemplar_recipe").networks())  # its bytes count
    exact = plan.precision.name == "fp32"
    settings = DeepExemplarSettings(
        use_half_resolution=memory.half_resolution,
        match_workspace_bytes=memory.workspace_bytes,
    )
    made = stages(networks, precision="exact" if exact else "balanced", compiler=compiler)
    return DeepExemplarPropagator(made, settings)


@cache
def _colormnet_tensors() -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = _helper("fill_weights").fill_(ColorMNet().state_dict())
    return tensors


def _helper(name: str) -> Any:
    """A module of tests/network."""
    if str(_TESTS) not in sys.path:
        sys.path.insert(0, str(_TESTS))
    return importlib.import_module(name)
