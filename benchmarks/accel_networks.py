"""Networks for the accel benchmarks, with weights that are a function of their names."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from accel.compiling import Compiler
from accel.device import Facts
from accel.memory import MemoryPlan
from accel.plan import Plan, Switches, make_plan
from bridge_server.effects.starter import WEIGHTS
from models.colormnet.config import MULTIPLE, ColorMNetSettings, MemorySettings, Precision
from models.colormnet.network import ColorMNet
from models.colormnet.network import build as build_colormnet
from models.colormnet.propagator import ColorMNetPropagator
from models.deep_exemplar.config import DeepExemplarSettings
from models.deep_exemplar.networks import stages
from models.deep_exemplar.propagator import DeepExemplarPropagator
from models.geometry import Padding
from models.propagator import Propagator
from models.starter.loading import load_starter
from models.starter.propagator import StarterPropagator, StarterSettings

_TESTS = Path(__file__).resolve().parents[1] / "tests" / "network"
EFFECTS = ("colormnet", "deep_exemplar", "starter")


def build(plan: Plan, memory: MemoryPlan, compiler: Compiler | None) -> Propagator:
    """A fresh propagator of plan.effect as the plan says."""
    if plan.effect == "starter":
        return _starter(plan)
    return (
        _colormnet(plan, memory, compiler)
        if plan.effect == "colormnet"
        else _deep(plan, memory, compiler)
    )


def colormnet_encoder(precision: str, facts: Facts) -> Callable[[Tensor], list[Tensor]]:
    """What a frame alone decides: lumas (B, 1, H, W), CIE L, to the tensors that a step needs."""
    plan = make_plan(facts, "colormnet", Switches(precision=precision, use_torch_compile="off"))
    network = _colormnet_network(plan, None)

    def encode(lumas: Tensor) -> list[Tensor]:
        height, width = lumas.shape[-2:]
        padded = Padding.to_multiple(height, width, MULTIPLE).pad((lumas - 50.0) / 50.0)
        features, key = network.encode(padded)
        return [*features, *key]

    return encode


def prepare(effect: str) -> None:
    """Make the filled tensors now, so that no measurement of memory holds them."""
    if effect == "colormnet":
        _colormnet_tensors()
    elif effect == "deep_exemplar":
        _helper("deep_exemplar_recipe").networks()


def _colormnet(plan: Plan, memory: MemoryPlan, compiler: Compiler | None) -> Propagator:
    network = _colormnet_network(plan, compiler)
    settings = replace(
        MemorySettings.preset(memory.mode.name), workspace_bytes=memory.workspace_bytes
    )
    return ColorMNetPropagator(network, ColorMNetSettings(settings))


def _colormnet_network(plan: Plan, compiler: Compiler | None) -> ColorMNet:
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
    return network


def _deep(plan: Plan, memory: MemoryPlan, compiler: Compiler | None) -> Propagator:
    networks = copy.deepcopy(_helper("deep_exemplar_recipe").networks())  # its bytes count
    exact = plan.precision.name == "fp32"
    settings = DeepExemplarSettings(
        use_half_resolution=memory.half_resolution,
        match_workspace_bytes=memory.workspace_bytes,
    )
    made = stages(networks, precision="exact" if exact else "balanced", compiler=compiler)
    return DeepExemplarPropagator(made, settings)


def _starter(plan: Plan) -> Propagator:
    """With its own trained weights."""
    built = load_starter(WEIGHTS, device=plan.facts.device, precision=plan.precision.name)
    return StarterPropagator(built, StarterSettings())


@cache
def _colormnet_tensors() -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = _helper("fill_weights").fill_(ColorMNet().state_dict())
    return tensors


def _helper(name: str) -> Any:
    """A module of tests/network."""
    if str(_TESTS) not in sys.path:
        sys.path.insert(0, str(_TESTS))
    return importlib.import_module(name)
