"""Compilation happens at warm-up only, is checked, and every failure leaves eager in place."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel.compiling import MAX_SHAPES, Compiled, Compiler, bucket, choose_compile, distance
from accel.device import Facts, Package

CPU = Facts("cpu", "invented", 1, 1, "2.6", compiler="/usr/bin/g++")


def double(x: Tensor) -> Tensor:
    return x * 2


class Counting:
    """A stand-in for torch.compile whose code adds `wrong` to every result."""

    def __init__(self, wrong: float = 0.0) -> None:
        self.compiled, self.calls, self.wrong = 0, 0, wrong

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        self.compiled += 1

        def run(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            return function(*args, **kwargs) + self.wrong

        return run


def test_nothing_compiles_outside_a_warm_up() -> None:
    backend = Counting()
    compiler = Compiler(CPU, compile_function=backend)
    wrapped = compiler(double)
    assert torch.equal(wrapped(torch.ones(3)), torch.full((3,), 2.0))
    assert (backend.compiled, compiler.missed) == (0, 1)


def test_a_warmed_shape_runs_compiled_and_others_stay_eager() -> None:
    backend, heard = Counting(), list[Compiled]()
    compiler = Compiler(CPU, compile_function=backend)
    wrapped = compiler(double)
    with compiler.warming(heard.append):
        wrapped(torch.ones(3))
    calls = backend.calls
    wrapped(torch.ones(3))
    assert backend.calls == calls + 1
    wrapped(torch.ones(4))
    wrapped(torch.ones(3, dtype=torch.float64))
    wrapped(torch.ones(6)[::2])
    assert (backend.calls, backend.compiled, compiler.missed) == (calls + 1, 1, 3)
    assert [outcome.code for outcome in heard] == ["compiled"]
    assert heard[0].function == "double"
    assert heard[0].shapes == "3"


def test_a_planted_failure_falls_back_to_eager_with_its_code() -> None:
    def explode(_: Callable[..., Any]) -> Callable[..., Any]:
        def run(*_args: Any) -> Any:
            raise RuntimeError("CppCompileError: no such header\n\nfoo.h\nand a long trace")

        return run

    compiler = Compiler(CPU, compile_function=explode)
    wrapped = compiler(double)
    with compiler.warming():
        assert torch.equal(wrapped(torch.ones(3)), torch.full((3,), 2.0))
    assert torch.equal(wrapped(torch.ones(3)), torch.full((3,), 2.0))
    (outcome,) = compiler.outcomes
    assert (outcome.code, outcome.detail) == (
        "compile_failed",
        "CppCompileError: no such header foo.h",
    )
    assert "eager, compile_failed" in str(outcome)


@pytest.mark.parametrize("wrong", [0.01, float("nan"), float("inf")])
def test_wrong_numbers_fall_back_to_eager_with_their_code(wrong: float) -> None:
    backend = Counting(wrong)
    compiler = Compiler(CPU, compile_function=backend)
    wrapped = compiler(double)
    with compiler.warming():
        assert torch.equal(wrapped(torch.ones(3)), torch.full((3,), 2.0))
    assert torch.equal(wrapped(torch.ones(3)), torch.full((3,), 2.0))
    assert compiler.outcomes[0].code == "compile_mismatch"


def test_rounding_is_judged_by_the_format_of_the_heavy_layers() -> None:
    for dtype, code in ((torch.float32, "compile_mismatch"), (torch.bfloat16, "compiled")):
        compiler = Compiler(CPU, dtype=dtype, compile_function=Counting(0.01))
        with compiler.warming():
            compiler(double)(torch.ones(3))
        assert compiler.outcomes[0].code == code


def test_auto_returns_to_eager_where_compiled_code_is_not_faster() -> None:
    def slow(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(x: Tensor) -> Any:
            for _ in range(200):
                function(x)
            return function(x)

        return run

    compiler = Compiler(CPU, keep_only_gains=True, compile_function=slow)
    with compiler.warming():
        compiler(double)(torch.ones(3))
    assert compiler.outcomes[0].code == "compile_no_gain"


def test_switching_off_brings_the_eager_function_back() -> None:
    backend = Counting()
    compiler = Compiler(CPU, compile_function=backend)
    wrapped = compiler(double)
    with compiler.warming():
        wrapped(torch.ones(3))
    compiler.undo()
    calls = backend.calls
    with compiler.warming():
        wrapped(torch.ones(3))
        wrapped(torch.ones(5))
    assert (backend.calls, backend.compiled) == (calls, 1)
    assert compiler.to_json()["enabled"] is False


def test_parts_of_a_network_are_wrapped_in_place_and_given_back() -> None:
    backend = Counting()
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    compiler = Compiler(CPU, compile_function=backend)
    compiler.install(network, ["1"])
    with torch.no_grad(), compiler.warming():
        network(torch.ones(1, 2))
        calls = backend.calls
        network(torch.ones(1, 2))
    assert backend.calls == calls + 1
    assert [outcome.function for outcome in compiler.outcomes] == ["1"]
    compiler.undo()
    assert "forward" not in vars(network[1])
    with pytest.raises(ValueError, match="parts: expected names of submodules, got 7"):
        compiler.install(network, ["7"])


def test_the_number_of_compiled_shapes_is_bounded() -> None:
    backend = Counting()
    compiler = Compiler(CPU, compile_function=backend)
    wrapped = compiler(double)
    with compiler.warming():
        for size in range(1, MAX_SHAPES + 4):
            wrapped(torch.ones(size))
    assert backend.compiled == MAX_SHAPES
    assert compiler.missed == 3


@dataclass(frozen=True)
class Pair:
    first: Tensor
    second: list[Tensor]


def test_results_are_compared_through_any_structure() -> None:
    a, b = torch.ones(2), torch.full((2,), 1.5)
    assert distance(Pair(a, [a]), Pair(a, [a])) == 0.0
    assert distance({"x": (b, a)}, {"x": (a, a)}) == pytest.approx(0.5)
    assert distance([a], [a, a]) == float("inf")


def test_what_torch_itself_raises_while_compiling_is_caught() -> None:
    """A backend that fails lazily, at the first call: the case the seed's fallback missed."""

    def backend(_graph: Any, _inputs: Any) -> Any:
        raise RuntimeError("planted")

    compiler = Compiler(
        CPU, compile_function=lambda f: torch.compile(f, dynamic=False, backend=backend)
    )
    wrapped = compiler(double)
    with compiler.warming():
        assert torch.equal(wrapped(torch.ones(3)), torch.full((3,), 2.0))
    assert compiler.outcomes[0].code == "compile_failed"
    assert "planted" in compiler.outcomes[0].detail


def test_torch_never_recompiles_under_a_frame() -> None:
    """A global that torch guards on changes after the warm-up: the frame runs eagerly."""
    graphs = []

    def backend(graph: Any, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiler = Compiler(
        CPU, compile_function=lambda f: torch.compile(f, dynamic=False, backend=backend)
    )
    wrapped = compiler(double)
    with compiler.warming():
        wrapped(torch.ones(3))
    before = len(graphs)
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
        wrapped(torch.ones(3))
    assert before == len(graphs) == 1


@pytest.mark.parametrize(
    ("facts", "asked", "line"),
    [
        (CPU, "on", "compile: inductor"),
        (CPU, "off", "compile: eager"),
        (
            Facts("cpu", "x", 1, 1, "2.6"),
            "on",
            "compile: eager (inductor: needs a C++ compiler)",
        ),
        (
            Facts("cuda", "x", 1, 1, "2.6", capability=(6, 1)),
            "auto",
            "compile: eager (inductor: triton is not installed; needs CUDA capability 7.0, "
            "found 6.1)",
        ),
        (
            Facts("cuda", "x", 1, 1, "2.6", capability=(8, 9), packages=(Package("triton", "3"),)),
            "auto",
            "compile: inductor",
        ),
    ],
)
def test_compilation_is_chosen_where_it_can_work(facts: Facts, asked: str, line: str) -> None:
    assert str(choose_compile(facts, asked)) == line


def test_auto_on_a_cpu_says_why_it_stays_eager() -> None:
    choice = choose_compile(CPU, "auto")
    assert choice.name == "eager"
    assert "switch it on for long clips" in choice.refusals[0].reasons[0]


def test_sizes_share_a_bucket_up_to_the_multiple() -> None:
    assert bucket(432, 768, 112) == bucket(440, 784, 112) == (448, 784)


COLD_OR_WARM = """
    import sys, time, pathlib, warnings
    warnings.simplefilter("ignore")
    import torch
    import torch._inductor.config as config
    config.cpp_cache_precompile_headers = False
    from accel.compiling import Compiler, use_cache
    from accel.device import Facts
    use_cache(pathlib.Path(sys.argv[1]))
    compiler = Compiler(Facts("cpu", "x", 1, 1, "2.6"))
    wrapped = compiler(lambda x: torch.relu(x * 2 + 1).sum(-1))
    with torch.inference_mode(), compiler.warming():
        wrapped(torch.ones(8, 8))
    print(compiler.outcomes[0].code, compiler.outcomes[0].seconds)
"""


@pytest.mark.slow
def test_compiled_code_survives_a_restart_in_the_directory_named(tmp_path: Path) -> None:
    """Two processes, the real compiler; the second finds the first one's work."""
    found = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(COLD_OR_WARM), str(tmp_path)],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        code, seconds = done.stdout.split()
        assert code == "compiled"
        found.append((float(seconds), len(list(tmp_path.rglob("*.so")))))
    assert found[1][1] == found[0][1] > 0, "the second process compiled again"
