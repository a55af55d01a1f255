"""Which matcher and which convolutions a machine runs, with the reasons for the record."""

from __future__ import annotations

from accel.choice import Candidate, Choice, Refusal, choose
from accel.device import Facts
from models.deep_exemplar.matching import Matcher, nearest, shortlisted
from models.deep_exemplar.networks import Precision, Rearranged

ROUNDED = ("balanced", "fast")


def choose_matcher(facts: Facts, precision: Precision) -> Choice[Facts, Matcher]:
    """The shortlist where its products are fast and the last digit of a score may differ."""
    if precision not in ROUNDED:
        reason = "exact was asked for, and its float32 sums run in another order"
        chosen = choose("matching", [NEAREST], facts)
        return Choice(chosen.role, chosen.candidate, (Refusal(SHORTLIST.name, (reason,)),))
    return choose("matching", [SHORTLIST, NEAREST], facts)


def choose_convolution(
    facts: Facts, precision: Precision, *, compiled: bool = False
) -> Choice[Facts, Rearranged]:
    """How far convolutions are rearranged: the argument of networks.stages.

    compiled: whether torch.compile serves, which rounds no less than folding does.
    """
    if precision in ROUNDED:
        return choose("convolution", [WINOGRAD, FOLDED], facts)
    reason = "exact was asked for, and rearranged sums round differently"
    chosen = choose("convolution", [FOLDED if compiled else DIRECT], facts)
    return Choice(chosen.role, chosen.candidate, (Refusal(WINOGRAD.name, (reason,)),))


def _no_fast_products(facts: Facts) -> tuple[str, ...]:
    if facts.kind == "cpu" and not facts.cpu_features & {"avx512_bf16", "amx_bf16"}:
        return ("this processor has no fast bf16 products",)
    if facts.kind == "cuda" and facts.capability is not None and facts.capability < (8, 0):
        return (f"needs CUDA capability 8.0, found {facts.capability[0]}.{facts.capability[1]}",)
    return ()


def _library_has_it(facts: Facts) -> tuple[str, ...]:
    return ("cuDNN has its own Winograd",) if facts.kind == "cuda" else ()


SHORTLIST: Candidate[Facts, Matcher] = Candidate(
    "bf16 shortlist, fp32 scores",
    _no_fast_products,
    lambda _: shortlisted,
    "the same matches (100 % of 25,920 measured), similarity within 5e-7",
)
NEAREST: Candidate[Facts, Matcher] = Candidate(
    "fp32 blocks", lambda _: (), lambda _: nearest, "identical"
)
WINOGRAD: Candidate[Facts, Rearranged] = Candidate(
    "winograd", _library_has_it, lambda _: "all", "1e-5 of a layer's greatest value; 0.13 in ab"
)
FOLDED: Candidate[Facts, Rearranged] = Candidate(
    "folded upsampling", lambda _: (), lambda _: "folded", "1e-6 of a layer; 1e-2 in ab"
)
DIRECT: Candidate[Facts, Rearranged] = Candidate("direct", lambda _: (), lambda _: "none")
