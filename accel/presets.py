"""The one table of memory modes and VRAM tiers, read by the planner, the doctor and the docs."""

from __future__ import annotations

from dataclasses import dataclass

from accel.device import Facts

GIB = 2**30


@dataclass(frozen=True)
class MemoryMode:
    """How much ColorMNet's bank keeps.

    A frame enters the bank every mem_every frames. When it holds max_mid_term_frames, all but the
    first and the newest min_mid_term_frames - 1 are condensed into num_prototypes elements of the
    long-term part, which holds max_long_term_elements.
    """

    name: str
    max_mid_term_frames: int
    min_mid_term_frames: int
    max_long_term_elements: int
    num_prototypes: int
    mem_every: int


LOW_MEMORY = MemoryMode("low_memory", 5, 3, 5_000, 64, 10)
BALANCED = MemoryMode("balanced", 10, 5, 10_000, 128, 5)
HIGH_QUALITY = MemoryMode("high_quality", 15, 7, 15_000, 256, 3)
MEMORY_MODES = {mode.name: mode for mode in (LOW_MEMORY, BALANCED, HIGH_QUALITY)}
MODE_NAMES = ("auto", *MEMORY_MODES)


@dataclass(frozen=True)
class Tier:
    """What auto means on a device of a size.

    gib: nominal device memory from which the tier holds, inclusive. precision: fp32, bf16, or half
    for the better of fp16 and bf16. half_resolution: of Deep Exemplar's networks.
    """

    name: str
    gib: int
    precision: str
    mode: MemoryMode
    half_resolution: bool


TIERS = (
    Tier("16 GB and more", 16, "fp32", HIGH_QUALITY, half_resolution=False),
    Tier("8 to 16 GB", 8, "half", BALANCED, half_resolution=True),
    Tier("6 to 8 GB", 0, "half", LOW_MEMORY, half_resolution=True),
)
CPU_TIER = Tier("CPU", 0, "bf16", BALANCED, half_resolution=True)


def tier(facts: Facts) -> Tier:
    """The row of the table for a device; a card sold as 8 GB reports a little less."""
    if facts.kind == "cpu":
        return CPU_TIER
    nominal = round(facts.memory_bytes / GIB)
    return next(row for row in TIERS if nominal >= row.gib)


def markdown() -> str:
    """Both tables as the documentation shows them."""
    modes = [
        "| memory_mode | mid-term frames, most / least | long-term elements | prototypes | every |",
        "|---|---|---|---|---|",
        *(
            f"| {m.name} | {m.max_mid_term_frames} / {m.min_mid_term_frames} "
            f"| {m.max_long_term_elements} | {m.num_prototypes} | {m.mem_every} |"
            for m in MEMORY_MODES.values()
        ),
    ]
    tiers = [
        "| device memory | precision auto | memory_mode auto | Deep Exemplar runs at |",
        "|---|---|---|---|",
        *(
            f"| {t.name} | {t.precision} | {t.mode.name} "
            f"| {'half' if t.half_resolution else 'full'} working size |"
            for t in (*reversed(TIERS), CPU_TIER)
        ),
    ]
    return "\n".join([*modes, "", *tiers, ""])
