"""Carries colors from exemplars along one shot with the Deep Exemplar networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Literal, ParamSpec, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from accel.precision import full
from models.deep_exemplar.config import DeepExemplarSettings
from models.deep_exemplar.exemplars import EncodedExemplar, encode
from models.deep_exemplar.geometry import CELL, Geometry
from models.deep_exemplar.matching import Match, soft
from models.deep_exemplar.networks import Stages
from models.deep_exemplar.smoother import smoothed
from models.propagator import Exemplar, Json, State, Step

P = ParamSpec("P")
R = TypeVar("R")
Place = Literal["begun", "cut", "running"]  # what the last call before this step was
_EXEMPLAR_TENSORS = ("vectors", "colors", "lab")


def _inference(method: Callable[P, R]) -> Callable[P, R]:
    """Run without autograd's records."""

    @wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.inference_mode():
            return method(*args, **kwargs)

    return run


class DeepExemplarPropagator:
    """One shot's state: encoded exemplars and the previous frame.

    Fulfills models.propagator.Propagator.
    """

    def __init__(self, stages: Stages, settings: DeepExemplarSettings | None = None) -> None:
        self._stages = stages
        self._settings = settings if settings is not None else DeepExemplarSettings()
        self._geometry: Geometry | None = None
        self._exemplars: list[EncodedExemplar] = []
        self._previous: Tensor | None = None  # (1, 3, h, w): L - 50 and raw ab
        self._place: Place = "running"

    @_inference
    def begin(self, exemplars: Sequence[Exemplar]) -> None:
        """See Propagator. Encodes every exemplar."""
        if not exemplars:
            raise ValueError("expected at least one exemplar, got none")
        height, width = exemplars[0].luma.shape[-2:]
        geometry = Geometry.of(height, width, half=self._settings.use_half_resolution)
        for exemplar in exemplars:
            _check_exemplar(exemplar, geometry)
        encoded = [encode(exemplar, geometry, self._stages) for exemplar in exemplars]
        self._geometry, self._exemplars = geometry, encoded
        self._previous, self._place = None, "begun"

    @_inference
    def put_exemplar(self, exemplar: Exemplar) -> None:
        """See Propagator. An unpinned one with a digest already held changes nothing."""
        geometry = self._begun()
        _check_exemplar(exemplar, geometry)
        for place, held in enumerate(self._exemplars):
            if exemplar.index is not None and exemplar.index == held.index:
                self._exemplars[place] = encode(exemplar, geometry, self._stages)
                return
            unpinned = exemplar.index is None and held.index is None
            if unpinned and exemplar.digest and exemplar.digest == held.digest:
                return
        self._exemplars.append(encode(exemplar, geometry, self._stages))

    @_inference
    def step(self, luma: Tensor, *, index: int, want_confidence: bool = False) -> Step:
        """See Propagator. Confidence is the cosine of the best match, 0 where it is negative."""
        geometry = self._begun()
        _check_picture("luma", luma, 1, geometry)
        frame = geometry.to_network(luma - 50)
        match = self._match(self._stages.frame_vectors(frame), index)
        warped = _spread(match.color, geometry)
        similarity = _spread(match.similarity[:, None], geometry)
        previous = self._previous_of(index, frame)
        chroma = self._stages.chroma(torch.cat((frame, warped, similarity, previous), 1))
        self._place = "running"
        self._previous = torch.cat((frame, chroma), 1) if self._settings.propagate else None
        large = geometry.to_working(chroma)
        if self._settings.smooth:
            large = smoothed(large, luma)
        confidence = geometry.to_working(similarity).clamp(0, 1) if want_confidence else None
        return Step(large, confidence)

    def reset(self) -> None:
        """See Propagator."""
        self._previous, self._place = None, "cut"

    @_inference
    def save_state(self) -> State:
        """See Propagator."""
        geometry = self._begun()
        tensors: dict[str, Tensor] = {}
        exemplars: list[Json] = []
        for number, held in enumerate(self._exemplars):
            for name in _EXEMPLAR_TENSORS:
                tensors[f"exemplars.{number}.{name}"] = getattr(held, name).clone()
            exemplars.append({"index": held.index, "digest": held.digest})
        if self._previous is not None:
            tensors["previous"] = self._previous.clone()
        values: dict[str, Json] = {
            "height": geometry.height,
            "width": geometry.width,
            "factor": geometry.factor,
            "place": self._place,
            "exemplars": exemplars,
        }
        return State(tensors, values)

    @_inference
    def load_state(self, state: State) -> None:
        """See Propagator. Raises ValueError when the state is not one of these settings."""
        values, tensors = state.values, state.tensors
        try:
            height, width, factor = (cast(int, values[k]) for k in ("height", "width", "factor"))
            pins = cast(list[dict[str, Json]], values["exemplars"])
            place = cast(Place, values["place"])
            exemplars = [
                EncodedExemplar(
                    **{
                        name: tensors[f"exemplars.{i}.{name}"].clone() for name in _EXEMPLAR_TENSORS
                    },
                    index=cast("int | None", pin["index"]),
                    digest=cast(str, pin["digest"]),
                )
                for i, pin in enumerate(pins)
            ]
        except KeyError as missing:
            raise ValueError(f"expected a state of Deep Exemplar, got none of {missing}") from None
        geometry = Geometry.of(height, width, half=self._settings.use_half_resolution)
        if factor != geometry.factor:
            raise ValueError(
                f"expected a state with networks at 1/{geometry.factor} of the working size, "
                f"got 1/{factor}: use_half_resolution differs"
            )
        previous = tensors.get("previous")
        self._geometry, self._exemplars, self._place = geometry, exemplars, place
        self._previous = previous.clone() if previous is not None else None

    @property
    def nbytes(self) -> int:
        """See Propagator."""
        held = sum(exemplar.nbytes for exemplar in self._exemplars)
        return held + (self._previous.nbytes if self._previous is not None else 0)

    def _begun(self) -> Geometry:
        if self._geometry is None:
            raise ValueError("expected begin or load_state first, got a shot without exemplars")
        return self._geometry

    def _match(self, vectors: Tensor, index: int) -> Match:
        """The best match of every position over all exemplars; a near pin adds to the score only.

        The similarity that comes back is the winner's own cosine.
        """
        matcher = self._stages.matcher
        if self._settings.temperature > 0:
            matcher = partial(soft, temperature=self._settings.temperature)
        best: Match | None = None
        best_score = vectors.new_empty(0)
        for held in self._exemplars:
            with full(vectors.device):
                found = matcher(
                    vectors,
                    held.vectors,
                    held.colors,
                    workspace_bytes=self._settings.match_workspace_bytes,
                )
            score = found.similarity + self._pin_bonus(held, index)
            if best is None:
                best, best_score = found, score
                continue
            better = score > best_score
            best_score = torch.where(better, score, best_score)
            best = Match(
                torch.where(better, found.similarity, best.similarity),
                torch.where(better[:, None], found.color, best.color),
                torch.where(better, found.index, best.index),
            )
        if best is None:
            raise ValueError("expected at least one exemplar, got none")
        return best

    def _pin_bonus(self, held: EncodedExemplar, index: int) -> float:
        if held.index is None:
            return 0.0
        nearness = max(0.0, 1 - abs(index - held.index) / self._settings.pin_reach)
        return self._settings.pin_preference * nearness

    def _previous_of(self, index: int, frame: Tensor) -> Tensor:
        """frame: (1, 1, h, w). Returns (1, 3, h, w): L - 50, a, b of the frame before; zeros first.

        A shot that starts on an exemplar's own picture takes that picture, if asked to: the
        exemplar pinned to the frame or, where the session begins, the first one if not pinned.
        """
        if self._previous is not None:
            return self._previous
        if self._settings.first_frame_is_exemplar and self._place != "running":
            for held in self._exemplars:
                if held.index == index:
                    return held.lab
            if self._place == "begun" and self._exemplars[0].index is None:
                return self._exemplars[0].lab
        return frame.new_zeros(1, 3, *frame.shape[-2:])


def _spread(values: Tensor, geometry: Geometry) -> Tensor:
    """values: (n, C), row-major. Returns (1, C, h, w), blocky on purpose: training saw it so."""
    rows, columns = geometry.cells
    cells = values.T.reshape(1, values.shape[1], rows, columns)
    return F.interpolate(cells, scale_factor=CELL, mode="nearest")


def _check_exemplar(exemplar: Exemplar, geometry: Geometry) -> None:
    _check_picture("exemplar.luma", exemplar.luma, 1, geometry)
    _check_picture("exemplar.chroma", exemplar.chroma, 2, geometry)
    if exemplar.valid is not None:
        _check_picture("exemplar.valid", exemplar.valid, 1, geometry)


def _check_picture(name: str, picture: Tensor, channels: int, geometry: Geometry) -> None:
    expected = (1, channels, geometry.height, geometry.width)
    if tuple(picture.shape) != expected:
        raise ValueError(f"{name}: expected {expected}, got {tuple(picture.shape)}")
