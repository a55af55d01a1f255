"""Everything chosen for one effect on one device, made once, with every reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from accel import device
from accel.attention import Attention, choose_attention
from accel.choice import Choice, Json, Refusal, RequirementUnmet
from accel.compiling import Compiler, choose_compile
from accel.correlation import Correlation, choose_correlation
from accel.device import Facts
from accel.heap import choose_heap
from accel.memory import RESERVE, WORKSPACES, MemoryPlan, fit
from accel.precision import Precision, choose_precision, from_use_fp16
from accel.presets import MEMORY_MODES, MODE_NAMES, Tier, tier
from accel.traits import Traits, traits_of

AnyChoice = (
    Choice[Facts, Precision]
    | Choice[Facts, Attention]
    | Choice[Facts, Correlation]
    | Choice[Facts, Compiler | None]
    | Choice[Facts, Callable[[], None]]
)
REQUIREMENTS = ("cuda", "compile", "sage", "sampler", "fp16", "bf16", "fp32")


@dataclass(frozen=True)
class Switches:
    """What was asked for, under the seed's names.

    use_torch_compile, correlation_sampler: off, on or auto. precision: auto, fp32, fp16 or bf16;
    use_fp16 speaks where it is auto. memory_mode: auto, low_memory, balanced or high_quality.
    use_half_resolution: of Deep Exemplar, None for auto.
    """

    use_torch_compile: str = "auto"
    use_sage_attention: bool = False
    correlation_sampler: str = "auto"
    precision: str = "auto"
    use_fp16: bool | None = None
    memory_mode: str = "auto"
    use_half_resolution: bool | None = None


@dataclass(frozen=True)
class Plan:
    """The choices for one effect on one device; see memory_for for what depends on the size."""

    effect: str
    facts: Facts
    asked: Switches
    tier: Tier
    traits: Traits
    precision: Choice[Facts, Precision]
    attention: Choice[Facts, Attention]
    correlation: Choice[Facts, Correlation]
    compile: Choice[Facts, Compiler | None]
    heap: Choice[Facts, Callable[[], None]]
    required: tuple[str, ...] = ()

    def build_precision(self) -> Precision:
        return self.precision.candidate.build(self.facts)

    def build_attention(self) -> Attention:
        return self.attention.candidate.build(self.facts)

    def build_correlation(self) -> Correlation:
        return self.correlation.candidate.build(self.facts)

    def build_compiler(self) -> Compiler | None:
        """A compiler of its own for each network that is built; None runs eagerly."""
        return self.compile.candidate.build(self.facts)

    def memory_for(
        self,
        height: int,
        width: int,
        *,
        free_bytes: int | None = None,
        exemplars: int = 1,
        loaded: bool = False,
    ) -> MemoryPlan:
        """How a shot of this working size is held.

        free_bytes: before the network is loaded, if not as in the facts. loaded: the network is in
        memory: what is free is asked now, its weights, which the prediction counts, come on top,
        and the peak of loading is over.
        """
        asked, workload = self.asked, self.traits.workload_on(self.facts.kind)
        free = self.facts.free_bytes if free_bytes is None else free_bytes
        if loaded:
            free = device.free_bytes(self.facts) + workload.weight_bytes[self.precision.name]
            workload = replace(workload, loading_bytes=0)
        half = asked.use_half_resolution
        mode = self.tier.mode if asked.memory_mode == "auto" else MEMORY_MODES[asked.memory_mode]
        return fit(
            MemoryPlan(
                workload=workload,
                height=height,
                width=width,
                precision=self.precision.name,
                mode=mode,
                workspace_bytes=WORKSPACES[0],
                half_resolution=self.tier.half_resolution if half is None else half,
                budget_bytes=round(free * (1 - RESERVE)),
                exemplars=exemplars,
            )
        )

    @property
    def choices(self) -> tuple[AnyChoice, ...]:
        return (self.precision, self.attention, self.correlation, self.compile, self.heap)

    @property
    def effective(self) -> dict[str, Json]:
        """What the switches came to, under the names in which they were asked."""
        return {
            "use_torch_compile": self.compile.name != "eager",
            "use_sage_attention": self.attention.name == "sage",
            "correlation_sampler": self.correlation.name == "sampler",
            "precision": self.precision.name,
            "use_fp16": self.precision.name == "fp16",
        }

    def effective_with(self, compiler: Compiler | None) -> dict[str, Json]:
        """The same after warm-up: compilation counts only where something was compiled."""
        outcomes = compiler.outcomes if compiler is not None else ()
        compiled = any(outcome.code == "compiled" for outcome in outcomes)
        return {**self.effective, "use_torch_compile": compiled}

    def lines(self) -> tuple[str, ...]:
        """The trace for people: one line a role, as in doctor, log and panels."""
        device = f"device: {self.facts.kind} ({self.facts.name})"
        return (device, *map(str, self.choices))

    def to_json(self) -> dict[str, Json]:
        """The trace for records, hello and job reports."""
        return {
            "effect": self.effect,
            "device": self.facts.to_json(),
            "tier": self.tier.name,
            "asked": asdict(self.asked),
            "effective": self.effective,
            "required": list(self.required),
            "choices": {choice.role: choice.to_json() for choice in self.choices},
        }


def make_plan(
    facts: Facts, effect: str, asked: Switches | None = None, *, require: tuple[str, ...] = ()
) -> Plan:
    """Choose everything for an effect.

    require: of REQUIREMENTS; each also counts as a wish. Raises RequirementUnmet, a ValueError
    that carries all reasons, when one was not chosen; ValueError for an unknown word or effect.
    """
    asked = asked or Switches()
    if unknown := [name for name in require if name not in REQUIREMENTS]:
        raise ValueError(f"require: expected of {', '.join(REQUIREMENTS)}, got {unknown[0]!r}")
    if asked.memory_mode not in MODE_NAMES:
        expected = ", ".join(MODE_NAMES)
        raise ValueError(f"memory_mode: expected one of {expected}, got {asked.memory_mode!r}")
    wished, traits, row = _with_required(asked, require), traits_of(effect), tier(facts)
    precision = choose_precision(
        facts,
        from_use_fp16(wished.use_fp16, wished.precision),
        auto=row.precision,
        offered=traits.formats,
    )
    plan = Plan(
        effect=effect,
        facts=facts,
        asked=wished,
        tier=row,
        traits=traits,
        precision=precision,
        attention=choose_attention(
            facts,
            use_sage_attention=wished.use_sage_attention,
            network_attends=traits.attends,
        ),
        correlation=choose_correlation(
            facts, wished.correlation_sampler, network_correlates=traits.correlates
        ),
        compile=choose_compile(
            facts,
            wished.use_torch_compile,
            dtype=precision.candidate.build(facts).dtype,
        ),
        heap=choose_heap(facts),
        required=tuple(require),
    )
    if unmet := [refusal for name in require if (refusal := _unmet(plan, name))]:
        raise RequirementUnmet(unmet)
    return plan


def _with_required(asked: Switches, require: tuple[str, ...]) -> Switches:
    if "sage" in require:
        asked = replace(asked, use_sage_attention=True)
    if "compile" in require:
        asked = replace(asked, use_torch_compile="on")
    if "sampler" in require:
        asked = replace(asked, correlation_sampler="on")
    for name in ("fp32", "fp16", "bf16"):
        if name in require:
            asked = replace(asked, precision=name)
    return asked


def _unmet(plan: Plan, name: str) -> Refusal | None:
    if name == "cuda":
        reason = f"this device is {plan.facts.kind}"
        return None if plan.facts.kind == "cuda" else Refusal(name, (reason,))
    roles: dict[str, tuple[AnyChoice, str]] = {
        "sage": (plan.attention, "sage"),
        "compile": (plan.compile, "inductor"),
        "sampler": (plan.correlation, "sampler"),
    }
    role, wanted = roles.get(name, (plan.precision, name))
    if role.name == wanted:
        return None
    refused = (refusal.reasons for refusal in role.refusals if refusal.name == wanted)
    return Refusal(name, next(refused, (f"{role.name} was chosen",)))
