"""What each effect's network has that accelerators could serve, and what it weighs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from accel.memory import MIB, Workload


@dataclass(frozen=True)
class Traits:
    """Of one network.

    attends: has multi-head attention of at most 64 channels a head. correlates: has a window
    correlation. formats: of fp32, fp16, bf16 that it runs in. compiled: dotted names of the parts
    that a compiler wraps in place; a network without any hands functions to it itself.
    cpu_weight_bytes: by precision, where a CPU holds other weights than workload says, and
    cpu_loading_bytes: the peak while it makes them, where that counts.
    """

    workload: Workload
    attends: bool
    correlates: bool
    formats: tuple[str, ...]
    compiled: tuple[str, ...] = ()
    cpu_weight_bytes: Mapping[str, int] = field(default_factory=dict)
    cpu_loading_bytes: int = 0

    def workload_on(self, kind: str) -> Workload:
        """The workload on a kind of device, where weights may be kept transformed for speed."""
        if kind != "cpu":
            return self.workload
        held = {**self.workload.weight_bytes, **self.cpu_weight_bytes}
        loading = max(self.workload.loading_bytes, self.cpu_loading_bytes)
        return replace(self.workload, weight_bytes=held, loading_bytes=loading)


COLORMNET = Traits(
    Workload(
        "colormnet",
        multiple=112,
        weight_bytes={"fp32": 494_437_124, "fp16": 247_218_562, "bf16": 247_218_562},
        pixel_bytes={"fp32": 1720.0, "fp16": 1390.0, "bf16": 800.0},
        loading_bytes=540 * MIB,
        fixed_bytes=200 * MIB,  # weights regrouped for the rewritten layers
        exemplar_bytes=12.0,  # its elements are part of the bank's mid-term frames
        has_modes=True,
    ),
    attends=True,
    correlates=True,
    formats=("fp32", "fp16", "bf16"),
    compiled=("key_encoder.network2", "key_encoder.fuse3"),  # the decoder gained 3 %
    cpu_loading_bytes=1000 * MIB,  # the file's tensors beside the network made from them
)
DEEP_EXEMPLAR = Traits(
    Workload(
        "deep_exemplar",
        multiple=16,
        weight_bytes={"fp32": 238_975_540, "bf16": 304_580_280},  # ColorVidNet twice
        pixel_bytes={"fp32": 2900.0, "bf16": 870.0},
        fixed_bytes=70 * MIB,
        exemplar_bytes=76.5,  # 256 features and 2 colors for 16 pixels, Lab a pixel
        has_half=True,
    ),
    attends=False,
    correlates=False,
    formats=("fp32", "bf16"),
    cpu_weight_bytes={"bf16": 870_000_000},  # Winograd's transforms of the float32 networks
    cpu_loading_bytes=1500 * MIB,  # 1481 to 1716 measured with the heap kept, mapped files among it
)
STARTER = Traits(
    Workload(
        "starter",
        multiple=32,
        weight_bytes={"fp32": 6_400_000, "bf16": 3_200_000},
        pixel_bytes={"fp32": 305.0, "bf16": 155.0},
        fixed_bytes=48 * MIB,  # libraries of optical flow too
        exemplar_bytes=74.0,
        most_pixels=6480 * 64,
        outer_bytes=26.0,
    ),
    attends=False,
    correlates=False,
    formats=("fp32", "bf16"),
    compiled=("encoder", "decoder"),
)
_ALL = {traits.workload.effect: traits for traits in (COLORMNET, DEEP_EXEMPLAR, STARTER)}


def traits_of(effect: str) -> Traits:
    """Raises ValueError with the effects known here."""
    if effect not in _ALL:
        raise ValueError(f"effect: expected one of {', '.join(_ALL)}, got {effect!r}")
    return _ALL[effect]
