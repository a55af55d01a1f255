"""Which matcher and which convolutions a machine runs, with the reasons for the record."""

from __future__ import annotations

from accel.choice import Candidate, Choice, Refusal, choose
from accel.device import Facts
from models.deep_exemplar.matching import Matcher, nearest, shortlisted
from models.deep_exemplar.networks import Precision

ROUNDED = ("balanced", "fast")


def choose_matcher(facts: Facts, precision: Precision) -> Choice[Facts, Matcher]:
    """The shortlist where its products are fast and the last digit of a score may differ."""
    if precision not in ROUNDED:
        reason = "exact was asked for, and its float32 sums run in another order"
        chosen = choose("matching", [NEAREST], facts)
        return Choice(chosen.role, chosen.candidate, (Refusal(SHORTLIST.name, (reason,)),))
    return choose("matching", [SHORTLIST, NEAREST], facts)


def choose_convolution(facts: Facts, precision: Precision) -> Choice[Facts, bool]:
    """Whether networks run with rearranged convolutions (the argument of networks.stages)."""
    if precision not in ROUNDED:
        reason = "exact was asked for, and rearranged sums round differently"
        chosen = choose("convolution", [DIRECT], facts)
        return Choice(chosen.role, chosen.candidate, (Refusal(REARRANGED.name, (reason,)),))
    return choose("convolution", [REARRANGED, DIRECT], facts)


def why_not_sage() -> tuple[str, ...]:
    """The reasons why SageAttention cannot serve this effect, whatever the machine."""
    return (
        "Deep Exemplar has no attention layer that SageAttention could take: no network holds the "
        "Self_Attn class that the switch patches elsewhere, and the matching needs exact float32 "
        "scores over 256 channels (SageAttention: at most 128, rounded)",
    )


def _no_fast_products(facts: Facts) -> tuple[str, ...]:
    if facts.kind == "cpu" and not facts.cpu_features & {"avx512_bf16", "amx_bf16"}:
        return ("this processor has no fast bf16 products",)
    if facts.kind == "cuda" and facts.capability is not None and facts.capability < (8, 0):
        return (f"needs CUDA capability 8.0, found {facts.capability[0]}.{facts.capability[1]}",)
    return ()


SHORTLIST: Candidate[Facts, Matcher] = Candidate(
    "bf16 shortlist, fp32 scores",
    _no_fast_products,
    lambda _: shortlisted,
    "the same matches (100 % of 25,920 measured), similarity within 5e-7",
)
NEAREST: Candidate[Facts, Matcher] = Candidate(
    "fp32 blocks", lambda _: (), lambda _: nearest, "identical"
)
REARRANGED: Candidate[Facts, bool] = Candidate(
    "rearranged", lambda _: (), lambda _: True, "1e-5 of a layer's greatest value"
)
DIRECT: Candidate[Facts, bool] = Candidate("direct", lambda _: (), lambda _: False, "identical")
