"""Which frames of an image sequence still have to be made, and under which content keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bridge_server import __version__
from bridge_server.media import Plate
from bridge_server.media.content import ContentIndex, content_key, frame_digest
from bridge_server.media.output import ImageOutput, Output
from host_plugins.wire.errors import BridgeError


@dataclass
class FramePlan:
    """What a run has to do.

    needed: frame numbers whose files are missing or were made for something else. keys: of every
    frame looked at. index: where finished files are noted; None for movies, which are made whole.
    """

    needed: set[int]
    keys: dict[int, str] = field(default_factory=dict)
    index: ContentIndex | None = None
    output: Output | None = None

    def begin(self, number: int) -> None:
        """Frame `number` is about to be written."""
        if self.index is not None and isinstance(self.output, ImageOutput):
            self.index.claim(self.output.path_of(number))

    def done(self, number: int) -> None:
        """Frame `number` is written under its final name."""
        if self.index is not None and isinstance(self.output, ImageOutput):
            self.index.record(self.output.path_of(number), self.keys[number])


class KeyChain:
    """Content keys along a clip: each holds all that came before it in its shot."""

    def __init__(self, settings: Mapping[str, Any], cuts: frozenset[int]) -> None:
        self.settings = {
            **settings,
            "version": __version__,
            "torch": torch.__version__,
        }
        self._cuts = cuts
        self._previous = ""

    def next(self, number: int, digest: str) -> str:
        """The key of the next frame. digest: frame_digest of its plate."""
        cut = number in self._cuts
        told = {**self.settings, "frame": number, "cut": cut}
        self._previous = content_key(digest, told, previous=self._previous)
        return self._previous


def plan_frames(
    plate: Plate, output: Output, settings: Mapping[str, Any], cuts: frozenset[int], *, force: bool
) -> FramePlan:
    """Compare what is in the output folder with what this run would make.

    force: make every frame anew. Raises BridgeError `output_exists` for a file in the way that was
    not made by an earlier run.
    """
    frames = list(plate.info.frames)
    if not isinstance(output, ImageOutput):
        return FramePlan(set(frames), output=output)
    paths = {number: output.path_of(number) for number in frames}
    index = ContentIndex(paths[frames[0]].parent)
    if not force:
        _refuse_strangers(paths, index)
    plan = FramePlan(set(frames), {}, index, output)
    if force or not any(path.exists() for path in paths.values()):
        return plan
    chain = KeyChain(settings, cuts)
    for frame in plate:
        key = chain.next(frame.index, frame_digest(frame))
        plan.keys[frame.index] = key
        if index.unchanged(paths[frame.index], key):
            plan.needed.discard(frame.index)
    return plan


def first_needed(frames: Sequence[int], plan: FramePlan) -> int:
    """The position of the first frame that has to be made; the clip's length when none has."""
    return min((k for k, number in enumerate(frames) if number in plan.needed), default=len(frames))


def last_needed(frames: Sequence[int], plan: FramePlan) -> int:
    """The position behind the last frame that has to be made; 0 when none has."""
    return max((k + 1 for k, number in enumerate(frames) if number in plan.needed), default=0)


def _refuse_strangers(paths: Mapping[int, Path], index: ContentIndex) -> None:
    for path in paths.values():
        if path.exists() and not index.knows(path):
            raise BridgeError("output_exists", f"expected free names for the frames, got {path}")
