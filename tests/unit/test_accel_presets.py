"""The planner's table and the networks' own constants say the same."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from accel.device import Facts
from accel.plan import Switches, make_plan
from accel.presets import GIB, MEMORY_MODES
from accel.traits import COLORMNET, DEEP_EXEMPLAR, traits_of
from models.colormnet.config import MEMORY_PRESETS, MULTIPLE
from models.colormnet.network import ColorMNet
from models.deep_exemplar.config import DeepExemplarSettings


def test_colormnets_own_presets_hold_the_numbers_of_the_table() -> None:
    assert MEMORY_PRESETS.keys() == MEMORY_MODES.keys()
    for name, mode in MEMORY_MODES.items():
        wanted = {key: value for key, value in asdict(mode).items() if key != "name"}
        own = asdict(MEMORY_PRESETS[name])
        assert {key: own[key] for key in wanted} == wanted


def test_the_planner_pads_as_the_networks_do() -> None:
    assert COLORMNET.workload.multiple == MULTIPLE
    assert DEEP_EXEMPLAR.workload.has_half


def test_deep_exemplar_attends_nowhere_and_runs_at_half_size_by_default() -> None:
    assert not DEEP_EXEMPLAR.attends
    assert DeepExemplarSettings().use_half_resolution


@pytest.mark.parametrize("effect", ["colormnet", "deep_exemplar", "starter"])
def test_every_format_that_a_network_offers_has_a_memory_figure(effect: str) -> None:
    traits = traits_of(effect)
    assert set(traits.workload.pixel_bytes) == set(traits.formats)
    assert set(traits.workload.weight_bytes) == set(traits.formats)


def test_colormnets_parameter_count_is_the_checkpoints() -> None:
    with torch.device("meta"):
        network = ColorMNet()
    count = sum(p.numel() for p in network.parameters())
    assert COLORMNET.workload.weight_bytes == {
        "fp32": 4 * count,
        "fp16": 2 * count,
        "bf16": 2 * count,
    }


def test_the_parts_named_for_compilation_exist() -> None:
    with torch.device("meta"):
        names = dict(ColorMNet().named_modules())
    assert set(COLORMNET.compiled) <= names.keys()


def test_a_planned_mode_is_one_that_colormnet_knows() -> None:
    for gib in (4, 6, 8, 12, 24):
        facts = Facts("cuda", "x", gib * GIB, gib * GIB, "2.6", capability=(8, 6))
        plan = make_plan(facts, "colormnet", Switches()).memory_for(1080, 1920)
        assert plan.mode.name in MEMORY_PRESETS
