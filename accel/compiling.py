"""torch.compile at warm-up only: checked, timed, undone, and eager wherever it fails."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import logging
import os
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from accel import device
from accel.choice import Candidate, Choice, Json, choose
from accel.device import Facts

log = logging.getLogger(__name__)

SWITCHES = ("off", "on", "auto")
MAX_SHAPES = 6  # per function
MIN_GAIN = 1.02  # what auto keeps; less is noise
TOLERANCES = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}

Function = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What became of one function at one set of shapes.

    code: compiled, compile_failed, compile_mismatch or compile_no_gain; all but the first run
    eagerly. seconds: of the compilation. error: relative L2 distance from eager. gain: eager time
    over compiled time.
    """

    function: str
    shapes: str
    code: str
    seconds: float = 0.0
    error: float = 0.0
    gain: float = 0.0
    detail: str = ""

    def __str__(self) -> str:
        if self.code == "compiled":
            return (
                f"{self.function} {self.shapes}: compiled in {self.seconds:.1f} s, "
                f"x{self.gain:.2f}, error {self.error:.1e}"
            )
        return f"{self.function} {self.shapes}: eager, {self.code}: {self.detail}"


class Compiler:
    """Wraps a network's functions; hand the object itself to whatever takes a compiler.

    A wrapped function runs eagerly until it is called inside warming(); there, each new set of
    shapes is compiled, compared with eager on those very operands and timed. A function must not
    write to its operands. What is not compiled when a frame comes stays eager for that frame.
    """

    def __init__(
        self,
        facts: Facts,
        *,
        dtype: torch.dtype = torch.float32,
        keep_only_gains: bool = False,
        compile_function: Callable[[Function], Function] | None = None,
    ) -> None:
        """dtype: of the network's heavy layers, decides how far from eager a result may be.
        keep_only_gains: return to eager where compiled code is not faster (auto).
        """
        self._facts, self._dtype = facts, dtype
        self._keep_only_gains = keep_only_gains
        self._compile = compile_function or _inductor
        self._report: Callable[[Compiled], None] | None = None
        self._wrapped: list[_Wrapped] = []
        self._installed: list[nn.Module] = []
        self.enabled = True
        self.clock: Callable[[], float] = time.perf_counter  # process time on a shared CPU

    def __call__(self, function: Function, *, name: str = "") -> Function:
        wrapped = _Wrapped(self, function, name or _name_of(function))
        self._wrapped.append(wrapped)
        return wrapped

    def install(self, network: nn.Module, parts: Sequence[str]) -> None:
        """Wrap the forward of named parts of a network in place; undo takes it back.

        Raises ValueError when a name is no part of the network.
        """
        modules = dict(network.named_modules())
        if unknown := [name for name in parts if name not in modules]:
            raise ValueError(f"parts: expected names of submodules, got {', '.join(unknown)}")
        for name in parts:
            part = modules[name]
            part.forward = self(part.forward, name=name)  # shadows the class's on this object
            self._installed.append(part)

    @contextlib.contextmanager
    def warming(self, report: Callable[[Compiled], None] | None = None) -> Iterator[None]:
        """Calls inside this block may compile; report hears of each outcome as it is known."""
        self._report = report or _silently
        try:
            yield
        finally:
            self._report = None

    @property
    def outcomes(self) -> tuple[Compiled, ...]:
        return tuple(outcome for wrapped in self._wrapped for outcome in wrapped.outcomes)

    @property
    def missed(self) -> int:
        """Calls with shapes that no warm-up had seen; they ran eagerly."""
        return sum(wrapped.missed for wrapped in self._wrapped)

    def undo(self) -> None:
        """Switch off: every wrapped function is the eager one again and compiled code is let go."""
        self.enabled = False
        for wrapped in self._wrapped:
            wrapped.forget()
        for part in self._installed:
            part.__dict__.pop("forward", None)
        self._installed.clear()

    def to_json(self) -> dict[str, Json]:
        return {
            "enabled": self.enabled,
            "missed": self.missed,
            "outcomes": [dataclasses.asdict(outcome) for outcome in self.outcomes],
        }


def choose_compile(
    facts: Facts,
    asked: str,
    *,
    dtype: torch.dtype = torch.float32,
) -> Choice[Facts, Compiler | None]:
    """asked: off, on or auto. dtype: of the network's heavy layers.

    auto compiles on CUDA and keeps what is faster; on a CPU it is off. Raises ValueError for
    another word.
    """
    if asked not in SWITCHES:
        raise ValueError(f"use_torch_compile: expected one of {SWITCHES}, got {asked!r}")
    inductor: Candidate[Facts, Compiler | None] = Candidate(
        "inductor",
        lambda facts: _no_inductor(facts, asked),
        lambda facts: Compiler(facts, dtype=dtype, keep_only_gains=asked == "auto"),
        "relative L2 error 1e-3 (fp32), 1e-2 (fp16), 5e-2 (bf16), checked at warm-up",
    )
    candidates = [EAGER] if asked == "off" else [inductor, EAGER]
    return choose("compile", candidates, facts)


def use_cache(directory: Path) -> None:
    """Keep compiled code in this directory, for later starts; call it before anything compiles.

    Torch takes the place from the environment only, so this sets it for the whole process.
    """
    directory.mkdir(parents=True, exist_ok=True)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(directory)


def bucket(height: int, width: int, multiple: int) -> tuple[int, int]:
    """The padded size that stands for all sizes with which it shares compiled code."""
    return height + -height % multiple, width + -width % multiple


class _Wrapped:
    """One function of a Compiler, with compiled code per set of shapes."""

    def __init__(self, compiler: Compiler, function: Function, name: str) -> None:
        self._compiler, self._function, self._name = compiler, function, name
        self._ready: dict[Hashable, Function] = {}
        self._known: dict[Hashable, Compiled] = {}
        self.missed = 0

    @property
    def outcomes(self) -> tuple[Compiled, ...]:
        return tuple(self._known.values())

    def forget(self) -> None:
        self._ready.clear()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self._compiler.enabled:
            return self._function(*args, **kwargs)
        key = _key(args, kwargs)
        if ready := self._ready.get(key):
            with torch.compiler.set_stance("eager_on_recompile"):  # never compile under a frame
                return ready(*args, **kwargs)
        report = self._compiler._report
        if key in self._known or len(self._ready) >= MAX_SHAPES or report is None:
            self.missed += key not in self._known
            return self._function(*args, **kwargs)
        result, outcome, compiled = self._try(args, kwargs)
        self._known[key] = outcome
        if compiled is not None:
            self._ready[key] = compiled
        log.log(logging.INFO if compiled else logging.WARNING, "%s", outcome)
        report(outcome)
        return result

    def _try(self, args: Any, kwargs: Any) -> tuple[Any, Compiled, Function | None]:
        """Eager result, what became of it, and the compiled function if it may be used."""
        facts, function = self._compiler._facts, self._function
        wanted = function(*args, **kwargs)
        outcome = Compiled(self._name, _shapes(args, kwargs), "compile_failed")
        compiled = self._compiler._compile(function)
        start = time.perf_counter()
        try:
            found = compiled(*args, **kwargs)
            device.wait(facts)
        except Exception as error:  # whatever a compiler stack raises, eager still serves
            lines = [line for line in str(error).splitlines() if line.strip()]
            detail = " ".join(lines[:2])[:300] or type(error).__name__
            return wanted, dataclasses.replace(outcome, detail=detail), None
        seconds = time.perf_counter() - start
        away, bound = distance(found, wanted), TOLERANCES[self._compiler._dtype]
        outcome = dataclasses.replace(outcome, seconds=seconds, error=away)
        if not away <= bound:  # a NaN must fail
            detail = f"relative error {away:.1e}, allowed {bound:.0e}"
            return (
                wanted,
                dataclasses.replace(outcome, code="compile_mismatch", detail=detail),
                None,
            )
        gain = self._gain(compiled, args, kwargs)
        outcome = dataclasses.replace(outcome, gain=gain)
        if self._compiler._keep_only_gains and gain < MIN_GAIN:
            detail = f"x{gain:.2f} of eager's speed"
            return wanted, dataclasses.replace(outcome, code="compile_no_gain", detail=detail), None
        return wanted, dataclasses.replace(outcome, code="compiled"), compiled

    def _gain(self, compiled: Function, args: Any, kwargs: Any) -> float:
        """Best of three of each, in turns, so that both see the same machine."""
        clock = self._compiler.clock
        best = {True: float("inf"), False: float("inf")}
        for _ in range(3):
            for is_compiled, function in ((False, self._function), (True, compiled)):
                start = clock()
                function(*args, **kwargs)
                device.wait(self._compiler._facts)
                best[is_compiled] = min(best[is_compiled], clock() - start)
        return best[False] / best[True]


def _inductor(function: Function) -> Function:
    """torch.compile for one set of shapes, with room for MAX_SHAPES of many wrapped functions.

    Functions that share code share torch's limit, beyond which it turns to eager silently.
    """
    dynamo_config: Any = importlib.import_module("torch._dynamo.config")
    dynamo_config.recompile_limit = max(dynamo_config.recompile_limit, 64)
    compiled: Function = torch.compile(function, dynamic=False)
    return compiled


def distance(found: Any, wanted: Any) -> float:
    """The largest relative L2 distance between two results of one structure.

    NaN when anything is not finite in one and finite in the other; infinite when structures differ.
    """
    pairs = list(_tensors(found)), list(_tensors(wanted))
    if [t.shape for t in pairs[0]] != [t.shape for t in pairs[1]]:
        return float("inf")
    worst = 0.0
    for a, b in zip(*pairs, strict=True):
        a, b = a.double(), b.double()
        norm = float(b.norm())
        error = float((a - b).norm()) / (norm if norm > 0 else 1.0)
        if error != error:
            return error
        worst = max(worst, error)
    return worst


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _tensors(getattr(value, field.name))


def _key(args: Any, kwargs: Any) -> Hashable:
    """What decides whether compiled code fits: structure, shapes, layouts, formats, grad mode."""
    return (_key_of(args), _key_of(kwargs), torch.is_inference_mode_enabled())


def _key_of(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return (tuple(value.shape), value.stride(), value.dtype, value.device)
    if isinstance(value, Mapping):
        return tuple((name, _key_of(item)) for name, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(_key_of(item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return (type(value), *(_key_of(getattr(value, field.name)) for field in fields))
    return value if isinstance(value, Hashable) else id(value)


def _shapes(args: Any, kwargs: Any) -> str:
    tensors = _tensors([*args, *kwargs.values()])
    return " ".join("x".join(map(str, tensor.shape)) for tensor in tensors)


def _name_of(function: Function) -> str:
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__name__", type(function).__name__)
    return f"{type(owner).__name__}.{name}" if owner is not None else name


def _silently(_: Compiled) -> None:
    pass


def _no_inductor(facts: Facts, asked: str) -> tuple[str, ...]:
    if facts.kind == "mps":
        return ("not tried on mps",)
    if facts.kind == "cuda":
        problem = facts.package("triton").problem
        reasons = [problem] if problem else []
        if facts.capability is not None and facts.capability < (7, 0):
            found = f"{facts.capability[0]}.{facts.capability[1]}"
            reasons.append(f"needs CUDA capability 7.0, found {found}")
        return tuple(reasons)
    if not facts.compiler:
        return ("needs a C++ compiler",)
    if asked == "auto":
        return ("a first compilation takes a minute or more on a CPU; switch it on for long clips",)
    return ()


EAGER: Candidate[Facts, Compiler | None] = Candidate("eager", lambda _: (), lambda _: None)
