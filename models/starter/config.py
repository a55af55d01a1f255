"""Sizes of the starter network, fixed by its packaged weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StarterConfig:
    """Channels and keys; the defaults are those of the packaged weights."""

    channels_4: int = 48
    channels_8: int = 96
    channels_16: int = 128
    channels_32: int = 96
    key_8: int = 64
    key_4: int = 16
    value_learned: int = 56
    decoder_8: int = 96
    decoder_4: int = 48
    stride: int = 32

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name}: expected a positive number, got {value}")
