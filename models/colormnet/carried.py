"""What a ColorMNet shot carries from frame to frame beside its memory: hidden state and clocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from models.propagator import Json

from .plain import integer

_TENSORS = ("hidden", "key", "value")
_CLOCKS = ("time", "last_memory", "last_deep")


@dataclass
class Carried:
    """Changed by every step; made anew at a shot's begin and at cuts.

    hidden: (2, 64, h, w), of the recurrent cell; None is zero. key, value: (1, 64, h, w) and
    (h w, 1024) of the last memory frame. time: steps since the start, -1 before the first;
    last_memory, last_deep: when memory and hidden state were last renewed in depth.
    """

    hidden: Tensor | None = None
    key: Tensor | None = None
    value: Tensor | None = None
    time: int = -1
    last_memory: int = 0
    last_deep: int = 0

    @classmethod
    def at_start(cls, deep_update_every: int) -> Carried:
        """Nothing carried; a deep update is due at time 0."""
        return cls(last_deep=-deep_update_every)

    def memory_due(self, mem_every: int) -> bool:
        """Whether this frame enters memory."""
        return self.time - self.last_memory >= mem_every

    def deep_due(self, deep_update_every: int) -> bool:
        """Whether a memory frame renews the hidden state: always where updates are tied (-1)."""
        return deep_update_every < 0 or self.time - self.last_deep >= deep_update_every

    def remember(self, key: Tensor, value: Tensor) -> None:
        """Take this frame for the last memory frame."""
        self.key, self.value, self.last_memory = key, value, self.time

    def reinforce(self, hidden: Tensor) -> None:
        """Take over a hidden state that was renewed in depth."""
        self.hidden, self.last_deep = hidden, self.time

    def tensors(self) -> dict[str, Tensor]:
        """Copies of what is held, by name."""
        held = {name: getattr(self, name) for name in _TENSORS}
        return {name: tensor.clone() for name, tensor in held.items() if tensor is not None}

    def values(self) -> dict[str, Json]:
        """What tensors() needs beside it."""
        return {name: getattr(self, name) for name in _CLOCKS}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], values: Mapping[str, Json]) -> Carried:
        """From what tensors() and values() gave. Raises ValueError when a clock is missing."""
        hidden, key, value = (tensors.get(name) for name in _TENSORS)
        return cls(
            None if hidden is None else hidden.clone(),
            None if key is None else key.clone(),
            None if value is None else value.clone(),
            *(integer(values, name) for name in _CLOCKS),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors held."""
        held = (getattr(self, name) for name in _TENSORS)
        return sum(tensor.nbytes for tensor in held if tensor is not None)
