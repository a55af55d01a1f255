"""What each effect's network has that accelerators could serve, and what it weighs."""

from __future__ import annotations

from dataclasses import dataclass

from accel.memory import MIB, Workload


@dataclass(frozen=True)
class Traits:
    """Of one network.

    attends: has multi-head attention of at most 64 channels a head. correlates: has a window
    correlation. formats: of fp32, fp16, bf16 that it runs in. looks_ahead: can encode frames
    before their turn. compiled: dotted names of the parts that are worth compiling.
    """

    workload: Workload
    attends: bool
    correlates: bool
    formats: tuple[str, ...]
    looks_ahead: bool
    compiled: tuple[str, ...] = ()


COLORMNET = Traits(
    Workload(
        "colormnet",
        multiple=112,
        parameters=123_609_281,
        pixel_bytes={"fp32": 2000.0, "fp16": 1000.0, "bf16": 1000.0},
        fixed_bytes=64 * MIB,
        has_modes=True,
    ),
    attends=True,
    correlates=True,
    formats=("fp32", "fp16", "bf16"),
    looks_ahead=True,
    compiled=("key_encoder.network2", "key_encoder.fuse3"),  # the decoder gained 3 %
)
DEEP_EXEMPLAR = Traits(
    Workload(
        "deep_exemplar",
        multiple=16,
        parameters=59_743_885,
        pixel_bytes={"fp32": 2000.0, "bf16": 1000.0},
        fixed_bytes=64 * MIB,
        has_half=True,
    ),
    attends=False,
    correlates=False,
    formats=("fp32", "bf16"),
    looks_ahead=True,
)
STARTER = Traits(
    Workload(
        "starter",
        multiple=32,
        parameters=1_600_000,
        pixel_bytes={"fp32": 500.0, "bf16": 250.0},
        fixed_bytes=16 * MIB,
    ),
    attends=False,
    correlates=False,
    formats=("fp32", "bf16"),
    looks_ahead=False,
)
_ALL = {traits.workload.effect: traits for traits in (COLORMNET, DEEP_EXEMPLAR, STARTER)}


def traits_of(effect: str) -> Traits:
    """Raises ValueError with the effects known here."""
    if effect not in _ALL:
        raise ValueError(f"effect: expected one of {', '.join(_ALL)}, got {effect!r}")
    return _ALL[effect]
