"""The protocol that every colorization network fulfills to carry color along a shot.

A propagator owns the state of ONE shot; networks and weights are shared between propagators. All
pictures of a shot (exemplars and frames) have one height and width, the working size; whoever calls
the propagator fits them first. Padding to a network's own multiples happens inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Union, runtime_checkable

from torch import Tensor

Json = Union[None, bool, int, float, str, "list[Json]", "dict[str, Json]"]


@dataclass(frozen=True)
class Exemplar:
    """A color picture that gives the colors.

    luma: (1, 1, H, W) float32, CIE L in [0, 100].
    chroma: (1, 2, H, W) float32, CIE a and b (D65), about [-128, 127].
    index: the host's frame number that it is pinned to, or None when it belongs to no frame.
    valid: (1, 1, H, W) float32, 1 where the picture is real and 0 where a border was invented when
        the exemplar was fitted to the working size; None when all of it is real.
    digest: names its content (hex); two exemplars with one digest are the same picture.
    """

    luma: Tensor
    chroma: Tensor
    index: int | None = None
    valid: Tensor | None = None
    digest: str = ""


@dataclass(frozen=True)
class Step:
    """What one step gives back.

    chroma: (1, 2, H, W) float32, CIE a and b at working size.
    confidence: (1, 1, H, W) float32 in [0, 1], how well the exemplars explain each pixel; None
        unless it was asked for.
    """

    chroma: Tensor
    confidence: Tensor | None = None


@dataclass(frozen=True)
class State:
    """Everything that a propagator carries from frame to frame, as plain data.

    tensors: contiguous tensors by dotted name. values: JSON values by name. Together they restore
    a propagator bit for bit; neither holds weights.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    values: Mapping[str, Json] = field(default_factory=dict)


@runtime_checkable
class Propagator(Protocol):
    """Carries color from exemplars along one shot, a frame at a time, in order."""

    def begin(self, exemplars: Sequence[Exemplar]) -> None:
        """Forget everything and start a shot with these exemplars (at least one).

        Raises ValueError when there is none or their sizes differ.
        """

    def put_exemplar(self, exemplar: Exemplar) -> None:
        """Add an exemplar mid-shot, or replace the one with the same pinned index."""

    def step(self, luma: Tensor, *, index: int, want_confidence: bool = False) -> Step:
        """Color the next frame.

        luma: (1, 1, H, W) float32, CIE L in [0, 100]. index: the host's frame number, used only to
        find exemplars pinned at or near it; frames are taken in the order of the calls.
        Raises ValueError when begin was not called or the size is another one.
        """

    def reset(self) -> None:
        """A cut: drop what was carried from earlier frames, keep the exemplars."""

    def save_state(self) -> State:
        """Return all state, exemplars included, detached from later steps."""

    def load_state(self, state: State) -> None:
        """Restore what save_state returned; the next step equals that of the unbroken shot."""

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors held for this shot."""
