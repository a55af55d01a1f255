"""The plan: every choice with its reasons, for any device, fast, and requirements that bite."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
import torch

from accel import device
from accel.choice import RequirementUnmet
from accel.compiling import Compiler
from accel.device import Facts, Package
from accel.plan import REQUIREMENTS, Switches, make_plan
from accel.presets import GIB

ALL_PACKAGES = (
    Package("triton", "3.2"),
    Package("sageattention", "1.0.6"),
    Package("spatial_correlation_sampler", "0.5.0", cuda=True),
)


def gpu(gib: int, capability: tuple[int, int], *packages: Package) -> Facts:
    return Facts(
        "cuda", "invented", gib * GIB, gib * GIB, "2.6", capability=capability, packages=packages
    )


CPU = Facts("cpu", "invented", 16 * GIB, 12 * GIB, "2.6", cpu_features=frozenset({"amx_bf16"}))
ADA = gpu(12, (8, 9), *ALL_PACKAGES)


def test_a_cpu_plan_says_in_one_line_a_role_what_runs_and_why() -> None:
    asked = Switches(use_sage_attention=True, correlation_sampler="on", use_fp16=True)
    assert make_plan(CPU, "colormnet", asked).lines() == (
        "device: cpu (invented)",
        "precision: bf16 (fp16: this processor has no fast fp16)",
        "attention: sdpa (sage: sageattention is not installed; needs CUDA, this device is cpu)",
        "correlation: torch (sampler: spatial-correlation-sampler is not installed)",
        "compile: eager (inductor: needs a C++ compiler)",
        "heap: system (kept: this process allocates with another library, not glibc)",
    )


def test_a_good_card_gets_everything_that_was_asked_for() -> None:
    asked = Switches(use_sage_attention=True, use_torch_compile="on", precision="fp16")
    plan = make_plan(ADA, "colormnet", asked)
    assert plan.effective == {
        "use_torch_compile": True,
        "use_sage_attention": True,
        "correlation_sampler": True,
        "precision": "fp16",
        "use_fp16": True,
    }
    assert isinstance(plan.build_compiler(), Compiler)
    assert plan.build_precision().dtype is torch.float16


def test_two_networks_built_from_one_plan_share_no_compiler() -> None:
    plan = make_plan(ADA, "colormnet", Switches(use_torch_compile="on"))
    assert plan.build_compiler() is not plan.build_compiler()


def test_compilation_counts_only_once_something_was_compiled() -> None:
    plan = make_plan(ADA, "colormnet", Switches(use_torch_compile="on"))
    assert plan.effective_with(None)["use_torch_compile"] is False
    compiler = Compiler(CPU, compile_function=lambda function: function)
    assert plan.effective_with(compiler)["use_torch_compile"] is False
    with compiler.warming():
        compiler(torch.neg)(torch.ones(1))
    assert plan.effective_with(compiler)["use_torch_compile"] is True


def test_a_loaded_network_is_planned_by_what_is_free_now_and_loading_no_longer_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = make_plan(CPU, "deep_exemplar", Switches(precision="bf16", use_half_resolution=True))
    before = plan.memory_for(216, 384)
    assert before.budget_bytes == round(CPU.free_bytes * 0.9)
    assert before.prediction.total == before.prediction.loading
    monkeypatch.setattr(device, "free_bytes", lambda facts: 600 * 2**20)
    now = plan.memory_for(216, 384, loaded=True)
    assert now.budget_bytes == round((600 * 2**20 + now.prediction.weights) * 0.9)
    assert now.budget_bytes < before.prediction.loading  # which would have cost steps for nothing
    assert (now.prediction.loading, now.steps, now.fits) == (0, (), True)


def test_auto_follows_the_tier_of_the_card() -> None:
    for gib, precision, mode in (
        (6, "fp16", "low_memory"),
        (8, "fp16", "balanced"),
        (24, "fp32", "high_quality"),
    ):
        plan = make_plan(gpu(gib, (8, 6)), "colormnet")
        assert plan.precision.name == precision
        assert plan.memory_for(432, 768).mode.name == mode


def test_what_was_asked_for_wins_over_the_tier() -> None:
    plan = make_plan(ADA, "colormnet", Switches(precision="fp32", memory_mode="low_memory"))
    assert plan.precision.name == "fp32"
    assert plan.memory_for(432, 768).mode.name == "low_memory"
    deep = make_plan(ADA, "deep_exemplar", Switches(use_half_resolution=False))
    assert not deep.memory_for(432, 768).half_resolution


def test_deep_exemplar_never_takes_sage_nor_the_sampler() -> None:
    asked = Switches(use_sage_attention=True, correlation_sampler="on")
    plan = make_plan(ADA, "deep_exemplar", asked)
    assert plan.effective["use_sage_attention"] is False
    assert plan.effective["correlation_sampler"] is False
    assert "no layer of this network is such an attention" in str(plan.attention)
    assert "no layer of this network correlates windows" in str(plan.correlation)


def test_a_required_fast_path_that_is_missing_is_an_error_with_all_reasons() -> None:
    with pytest.raises(RequirementUnmet) as caught:
        make_plan(CPU, "colormnet", require=("sage", "sampler", "cuda"))
    assert [refusal.name for refusal in caught.value.refusals] == ["sage", "sampler", "cuda"]
    assert "needs CUDA, this device is cpu" in str(caught.value)
    assert "spatial-correlation-sampler is not installed" in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_requiring_something_also_asks_for_it() -> None:
    plan = make_plan(ADA, "colormnet", require=("sage", "compile", "sampler", "cuda", "bf16"))
    assert plan.effective["use_sage_attention"] is True
    assert plan.precision.name == "bf16"
    assert plan.to_json()["required"] == ["sage", "compile", "sampler", "cuda", "bf16"]


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_requirement_can_fail_and_can_hold(name: str) -> None:
    poor = Facts("mps", "invented", GIB, GIB, "2.6")
    best = make_plan(ADA, "colormnet", require=(name,))
    assert name in best.required
    if name in ("fp32", "fp16"):
        return  # every device has them
    with pytest.raises(RequirementUnmet, match=f"{name}: "):
        make_plan(poor, "colormnet", require=(name,))


@pytest.mark.parametrize(
    ("effect", "asked", "require", "message"),
    [
        ("nope", Switches(), (), "effect: expected one of colormnet"),
        ("colormnet", Switches(memory_mode="huge"), (), "memory_mode: expected one of auto"),
        ("colormnet", Switches(precision="int8"), (), "precision: expected one of"),
        ("colormnet", Switches(use_torch_compile="maybe"), (), "use_torch_compile: expected"),
        ("colormnet", Switches(correlation_sampler="yes"), (), "correlation sampler: expected"),
        ("colormnet", Switches(), ("warp",), "require: expected of cuda"),
    ],
)
def test_an_unknown_word_is_an_error_that_lists_the_known_ones(
    effect: str, asked: Switches, require: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_plan(CPU, effect, asked, require=require)


def test_the_trace_is_json_with_what_was_asked_and_what_came_of_it() -> None:
    record = json.loads(json.dumps(make_plan(CPU, "colormnet").to_json()))
    assert record["asked"]["precision"] == "auto"
    assert record["effective"]["precision"] == "bf16"
    assert record["choices"]["precision"]["tolerance"].startswith("rounding")
    assert record["device"]["kind"] == "cpu"


def test_memory_is_planned_from_what_is_free_now() -> None:
    plan = make_plan(ADA, "colormnet", Switches(memory_mode="high_quality"))
    roomy, tight = plan.memory_for(432, 768), plan.memory_for(1080, 1920, free_bytes=GIB)
    assert roomy.steps == ()
    assert tight.mode.name == "low_memory"
    assert tight.changes_picture


def test_weights_that_a_cpu_keeps_transformed_count_there_only() -> None:
    on_cpu = make_plan(CPU, "deep_exemplar", Switches(precision="bf16")).memory_for(432, 768)
    on_cuda = make_plan(ADA, "deep_exemplar", Switches(precision="bf16")).memory_for(432, 768)
    assert on_cpu.prediction.weights > 2 * on_cuda.prediction.weights
    assert on_cpu.prediction.loading > 0 == on_cuda.prediction.loading


def test_a_plan_takes_under_50_ms() -> None:
    make_plan(ADA, "colormnet")
    times = []
    for _ in range(5):
        start = time.perf_counter()
        make_plan(ADA, "colormnet", Switches(use_torch_compile="on")).memory_for(1080, 1920)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.05


def test_planning_loads_no_network_no_compiler_and_no_optional_library() -> None:
    program = (
        "import sys\n"
        "from accel.plan import make_plan, Switches\n"
        "from accel.device import Facts\n"
        "make_plan(Facts('cpu', 'x', 1, 1, '2.6'), 'colormnet', Switches(use_torch_compile='on'))\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('models', 'sageattention',\n"
        "    'spatial_correlation_sampler') or m in ('torch._inductor.compile_fx',)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_every_network_compiles_when_asked_to() -> None:
    facts = Facts("cpu", "x", 2**34, 2**33, "2.6", compiler="g++")
    for effect in ("colormnet", "deep_exemplar", "starter"):
        plan = make_plan(facts, effect, Switches(use_torch_compile="on"))
        assert plan.effective["use_torch_compile"] is True
        assert plan.build_compiler() is not None
