"""Deep Exemplar: a plain reading that recomputes everything, against our settings of it.

Sizes are those of the networks (use_half_resolution is off here); an official 432 x 768 picture
runs its networks at 216 x 384. Weights are the tests' recipe: random, so the errors of the rounded
settings are a pessimistic stand-in for those of trained weights.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

import torch

from models.deep_exemplar.config import DeepExemplarSettings
from models.deep_exemplar.networks import Networks, Precision, Rearranged, stages
from models.deep_exemplar.propagator import DeepExemplarPropagator
from models.propagator import Propagator

SIZES = ((216, 384), (432, 768))
_TESTS = Path(__file__).resolve().parents[2] / "tests" / "network"


def settings() -> Sequence[str]:
    """The plain reading first; see networks.stages. "+compile" adds torch.compile."""
    return (
        "reference",
        "exact",
        "exact+folded",
        "exact+all",
        "exact+folded+compile",
        "balanced",
        "balanced+compile",
        "fast",
        "fast+compile",
    )


def build(setting: str, device: torch.device) -> Propagator:
    """See benchmarks/step.py."""
    networks = _networks(device)
    if setting == "reference":
        reference: Propagator = _helper("deep_exemplar_reference").ReferencePropagator(networks)
        return reference
    precision, *switches = setting.split("+")
    run = stages(
        networks,
        precision=_PRECISIONS[precision],
        rearranged=_REARRANGED.get(switches[0]) if switches else None,
        compiler=torch.compile if "compile" in switches else None,
    )
    return DeepExemplarPropagator(run, DeepExemplarSettings(use_half_resolution=False))


_REARRANGED: dict[str, Rearranged] = {"folded": "folded", "all": "all"}
_PRECISIONS: dict[str, Precision] = {"exact": "exact", "balanced": "balanced", "fast": "fast"}


@cache
def _networks(device: torch.device) -> Networks:
    made: Networks = _helper("deep_exemplar_recipe").networks()
    return Networks(made.vgg.to(device), made.warp.to(device), made.color.to(device))


def _helper(name: str) -> ModuleType:
    """Load a module of tests/network by its path."""
    if str(_TESTS) not in sys.path:
        sys.path.insert(0, str(_TESTS))
    return importlib.import_module(name)
