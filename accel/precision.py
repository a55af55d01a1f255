"""Number formats of heavy layers per device, and what stays float32 whatever they are."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from accel.choice import Candidate, Choice, choose
from accel.device import Facts

STAYS_FP32 = (
    "similarities and their top-k",
    "softmax",
    "norms of keys and features",
    "sums of the window correlation",
    "matching of Deep Exemplar",
    "conversions of color, luma and the final join",
)
NAMES = ("auto", "fp32", "fp16", "bf16")
HALF = "half"  # fp16 where it is fast, else bf16


@dataclass(frozen=True)
class Precision:
    """A number format for convolutions and matrix products; each network casts itself."""

    name: str
    dtype: torch.dtype


FP32 = Precision("fp32", torch.float32)
FP16 = Precision("fp16", torch.float16)
BF16 = Precision("bf16", torch.bfloat16)


def choose_precision(
    facts: Facts, asked: str, *, auto: str, offered: tuple[str, ...] = ("fp32", "fp16", "bf16")
) -> Choice[Facts, Precision]:
    """asked: one of NAMES, or HALF. auto: what auto means on this device (a preset knows).

    offered: the formats that the network runs in. Falls back to fp32, which is always possible.
    Raises ValueError for another name.
    """
    if asked not in (*NAMES, HALF):
        raise ValueError(f"precision: expected one of {', '.join(NAMES)}, got {asked!r}")
    wanted = auto if asked == "auto" else asked
    order = ("fp16", "bf16", "fp32") if wanted == HALF else (wanted, "fp32")
    candidates = [_offered(candidate, offered) for candidate in CANDIDATES]
    return choose("precision", [c for name in order for c in candidates if c.name == name], facts)


def from_use_fp16(use_fp16: bool | None, asked: str) -> str:
    """The seed's switch in terms of ours: it speaks only where precision was left at auto."""
    if use_fp16 is None or asked != "auto":
        return asked
    return HALF if use_fp16 else "fp32"


def full(device: torch.device | str) -> AbstractContextManager[None]:
    """A block that no autocast reaches; its operands must be float32 themselves."""
    return torch.autocast(torch.device(device).type, enabled=False)


def _offered(
    candidate: Candidate[Facts, Precision], offered: tuple[str, ...]
) -> Candidate[Facts, Precision]:
    if candidate.name in offered:
        return candidate
    reason = f"this network runs in {' or '.join(offered)}"
    return Candidate(candidate.name, lambda _: (reason,), candidate.build, candidate.tolerance)


def _no_fp16(facts: Facts) -> tuple[str, ...]:
    if facts.kind == "cpu" and "amx_fp16" not in facts.cpu_features:
        return ("this processor has no fast fp16",)
    if facts.capability is not None and facts.capability < (7, 0):
        return (f"needs CUDA capability 7.0, found {_dotted(facts.capability)}",)
    return ()


def _no_bf16(facts: Facts) -> tuple[str, ...]:
    if facts.kind == "cpu" and not facts.cpu_features & {"amx_bf16", "avx512_bf16"}:
        return ("needs a processor with AMX or AVX512-bf16",)
    if facts.kind == "mps":
        return ("not tried on mps",)
    if facts.capability is not None and facts.capability < (8, 0):
        return (f"needs CUDA capability 8.0, found {_dotted(facts.capability)}",)
    return ()


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


CANDIDATES: tuple[Candidate[Facts, Precision], ...] = (
    Candidate("fp16", _no_fp16, lambda _: FP16, "rounding of 11 bits in the heavy layers"),
    Candidate("bf16", _no_bf16, lambda _: BF16, "rounding of 8 bits in the heavy layers"),
    Candidate("fp32", lambda _: (), lambda _: FP32),
)
