"""The starter's compiled parts: traced whole, the same picture, and eager where they fail."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from accel.compiling import Compiler
from accel.device import Facts
from accel.plan import Switches, make_plan
from bridge_server.bench import synthetic_clip, warm_up
from bridge_server.effects import registry
from bridge_server.effects.effect import LoadRequest

FACTS = Facts("cpu", "x", 2**34, 2**33, "2.6", compiler="g++")
SWITCHES = Switches(precision="fp32", use_torch_compile="on")
HEIGHT, WIDTH, FRAMES = 96, 128, 3


def colored(compiler: Compiler | None) -> Tensor:
    effect = registry.find("starter")
    values = effect.describe_in_context("filter").effective({"temporal_blend": 0.0})
    plan = make_plan(FACTS, "starter", SWITCHES)
    clip = synthetic_clip(HEIGHT, WIDTH, FRAMES)
    with torch.inference_mode():
        loaded = effect.load(LoadRequest(plan, Path(), values, compiler))
        assert loaded.compiler is compiler
        shot = effect.propagator(loaded, values, plan.memory_for(HEIGHT, WIDTH))
        warm_up(shot, clip, compiler)
        shot.begin([clip.exemplar])
        chroma = [shot.step(luma, index=i).chroma for i, luma in enumerate(clip.lumas)]
    return torch.cat(chroma)


def test_encoder_and_decoder_compile_without_a_break_to_the_same_picture() -> None:
    compiler = Compiler(
        FACTS,
        compile_function=lambda f: torch.compile(f, dynamic=False, fullgraph=True, backend="eager"),
    )
    assert torch.equal(colored(compiler), colored(None))
    outcomes = compiler.outcomes
    assert {outcome.function for outcome in outcomes} == {"encoder", "decoder"}
    assert {outcome.code for outcome in outcomes} == {"compiled"}
    assert compiler.missed == 0


def test_a_part_that_fails_to_compile_leaves_the_picture_as_it_is() -> None:
    def broken(function: object) -> object:
        raise RuntimeError("no such kernel")

    compiler = Compiler(FACTS, compile_function=lambda f: lambda *a, **k: broken(f))
    assert torch.equal(colored(compiler), colored(None))
    assert {outcome.code for outcome in compiler.outcomes} == {"compile_failed"}
