"""What a ColorMNet is built from and what a shot's memory may hold: frozen settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

STRIDE = 16  # pixels per feature at the coarsest scale
PATCH = 14  # pixels per token of the vision transformer
MULTIPLE = 112  # frames are padded to multiples of lcm(STRIDE, PATCH)


@dataclass(frozen=True)
class NetworkConfig:
    """Widths and depths; the defaults are the official network's."""

    key: int = 64
    value: int = 512
    hidden: int = 64
    trunk: int = 64  # first width of both ResNets
    trunk_blocks: tuple[int, int, int] = (3, 4, 6)
    value_blocks: tuple[int, int, int] = (2, 2, 2)
    tokens: int = 384  # width of the vision transformer
    token_blocks: int = 12
    token_heads: int = 6
    token_taps: int = 4  # the last blocks whose output is used
    fusion_heads: int = 8
    decoder: int = 256
    gate: int = 16  # reduction inside the channel gate
    window: int = 7  # radius of the local attention

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> NetworkConfig:
        """Read the widths that checkpoints may vary; the rest is official.

        Raises ValueError when a tensor that tells a width is missing.
        """
        try:
            return cls(
                key=tensors["key_proj.key_proj.weight"].shape[0],
                value=tensors["value_encoder.fuser.block2.conv2.weight"].shape[0],
                hidden=tensors["decoder.hidden_update.transform.weight"].shape[0] // 3,
            )
        except KeyError as missing:
            raise ValueError(f"no ColorMNet checkpoint: expected a tensor {missing}") from missing


@dataclass(frozen=True)
class Precision:
    """Number formats. Similarities, softmaxes, statistics and counters are float32 in all."""

    compute: torch.dtype = torch.float32  # convolutions, products, activations
    values: torch.dtype = torch.float32  # memory values at rest


EXACT = Precision()
FAST = Precision(torch.bfloat16, torch.bfloat16)


@dataclass(frozen=True)
class MemorySettings:
    """What the memory keeps; the defaults are the official script's.

    mem_every: a frame enters memory when so many steps have passed since the last that did.
    deep_update_every: the value encoder renews the hidden state on memory frames (-1), or on the
        first memory frame after so many steps (0 and more).
    max_mid_term_frames: working memory is compressed when it holds so many frames.
    min_mid_term_frames: so many stay uncompressed: the first ever stored, and the newest.
    num_prototypes: elements that one compression leaves in long-term memory.
    max_long_term_elements: the least used leave when long-term memory would pass this.
    long_term: False keeps every memory frame; the memory of a clip then grows with its length.
    top_k: memory elements that one pixel reads.
    permanent_exemplars: exemplars are never compressed. False treats those that come after the
        first as the official network does: like any other frame.
    max_exemplars: of many exemplars, the nearest by frame number are held in memory.
    workspace_bytes: bound of the similarity matrix; it changes speed, not results.
    """

    mem_every: int = 5
    deep_update_every: int = -1
    max_mid_term_frames: int = 10
    min_mid_term_frames: int = 5
    num_prototypes: int = 128
    max_long_term_elements: int = 10_000
    long_term: bool = True
    top_k: int = 30
    permanent_exemplars: bool = True
    max_exemplars: int = 16
    workspace_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        at_least = {
            "mem_every": 1,
            "deep_update_every": -1,
            "min_mid_term_frames": 1,
            "num_prototypes": 1,
            "top_k": 1,
            "max_exemplars": 1,
            "workspace_bytes": 1,
        }
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        if self.max_mid_term_frames <= self.min_mid_term_frames:
            raise ValueError(
                f"max_mid_term_frames: expected more than min_mid_term_frames "
                f"({self.min_mid_term_frames}), got {self.max_mid_term_frames}"
            )
        if self.max_long_term_elements < self.num_prototypes:
            raise ValueError(
                f"max_long_term_elements: expected at least num_prototypes "
                f"({self.num_prototypes}), got {self.max_long_term_elements}"
            )

    @classmethod
    def preset(cls, name: str) -> MemorySettings:
        """One of MEMORY_PRESETS. Raises ValueError with the choices."""
        if name not in MEMORY_PRESETS:
            raise ValueError(f"memory preset: expected one of {list(MEMORY_PRESETS)}, got {name!r}")
        return MEMORY_PRESETS[name]


MEMORY_PRESETS: Mapping[str, MemorySettings] = {
    "balanced": MemorySettings(),
    "low_memory": MemorySettings(
        mem_every=10,
        max_mid_term_frames=5,
        min_mid_term_frames=3,
        num_prototypes=64,
        max_long_term_elements=5_000,
    ),
    "high_quality": MemorySettings(
        mem_every=3,
        max_mid_term_frames=15,
        min_mid_term_frames=7,
        num_prototypes=256,
        max_long_term_elements=15_000,
    ),
}


@dataclass(frozen=True)
class ColorMNetSettings:
    """How one shot is colored.

    memory: what is kept; `custom` presets are any other MemorySettings.
    first_frame_is_exemplar: a frame with an exemplar pinned to it comes back with that exemplar's
        chroma untouched (official mode A); an unpinned only exemplar belongs to the first frame.
        False: exemplars are other pictures, and every frame is predicted (official mode B).
    """

    memory: MemorySettings = MemorySettings()
    first_frame_is_exemplar: bool = False

    @classmethod
    def preset(cls, name: str, *, first_frame_is_exemplar: bool = False) -> ColorMNetSettings:
        """Settings with a named memory preset: balanced, low_memory or high_quality."""
        return cls(MemorySettings.preset(name), first_frame_is_exemplar)

    def with_memory(self, **changes: int | bool) -> ColorMNetSettings:
        """The same settings with single memory constants changed."""
        return replace(self, memory=replace(self.memory, **changes))  # type: ignore[arg-type]
