"""Carries color along one shot with a ColorMNet; owns the shot's memory, shares the network.

Use, also for a single still (a clip of one frame):

    network = build(read_tensors(path), source=path.name)
    shot = ColorMNetPropagator(network, ColorMNetSettings.preset("balanced"))
    shot.begin([Exemplar(luma, chroma)])          # another picture than the frames: official mode B
    for index, luma in enumerate(lumas):          # backward: feed the frames in reverse
        chroma = shot.step(luma, index=index).chroma          # ab; ab / 110 is the network's output

With `first_frame_is_exemplar` an exemplar pinned to a frame (`index`) is that frame in color, and
comes back untouched (mode A). An exemplar given mid-shot by put_exemplar takes part from the next
step on, which treats it as the official network treats the frame that brings an exemplar:
it reads memory without short-term attention and enters memory itself.

Many exemplars: all are permanent, whatever frame they are pinned to, before and after that frame;
beyond `max_exemplars` those nearest to the current frame are held, and others are encoded when
they come near. For the official network's behavior with a second exemplar, begin with the first,
and put the second right before the step of the frame that brings it; where memory is compressed
after that, set `permanent_exemplars` to False as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.geometry import Padding
from models.propagator import Exemplar, Json, State, Step

from .bank import Bank
from .carried import Carried
from .config import MULTIPLE, STRIDE, ColorMNetSettings
from .exemplars import ExemplarSet
from .key_encoder import Features, Key
from .network import ColorMNet
from .plain import array, below, checked_size, integer, mapping, own_copy
from .store import Elements

STATE_FORMAT = 1
CHROMA_SCALE = 110.0  # ab per unit of the network's planes


class Encoded(NamedTuple):
    """A frame ready to be colored: padded luma, features and key, batch 1."""

    luma: Tensor
    features: Features
    key: Key


class ColorMNetPropagator:
    """One shot. Fulfills models.propagator.Propagator.

    Everything runs on the network's device, where results are returned.
    """

    def __init__(self, network: ColorMNet, settings: ColorMNetSettings | None = None) -> None:
        self.network = network
        self.settings = settings or ColorMNetSettings()
        self._exemplars = ExemplarSet()
        self._size = (0, 0)
        self._epoch = 0
        self._fresh = True  # no frame was stepped since begin
        self._arriving: list[str] = []  # exemplars that the next step takes in
        self._carried = Carried()

    def begin(self, exemplars: Sequence[Exemplar]) -> None:
        """See Propagator.begin. Exemplars are encoded when the first frame is stepped."""
        if not exemplars:
            raise ValueError("exemplars: expected at least one, got none")
        size = checked_size(exemplars[0])
        for exemplar in exemplars:
            if checked_size(exemplar) != size:
                raise ValueError(f"exemplars: expected all of {size}, got {checked_size(exemplar)}")
        self._set_size(size)
        self._exemplars = ExemplarSet()
        for exemplar in exemplars:
            self._exemplars.put(own_copy(exemplar, self._device))
        self._fresh = True
        self._restart()

    def put_exemplar(self, exemplar: Exemplar) -> None:
        """See Propagator.put_exemplar; it takes part from the next step on."""
        self._require_begun()
        if checked_size(exemplar) != self._size:
            raise ValueError(f"exemplar: expected {self._size}, got {checked_size(exemplar)}")
        name = self._exemplars.put(own_copy(exemplar, self._device))
        if name is not None:
            self._bank.remove_exemplar(name)
            self._arriving.append(name)

    def reset(self) -> None:
        """A cut: the exemplars stay, encoded; all else starts anew."""
        self._require_begun()
        self._restart()

    @torch.no_grad()
    def step(self, luma: Tensor, *, index: int, want_confidence: bool = False) -> Step:
        """See Propagator.step. The mean of the confidence is the frame's.

        Confidence is how alike a pixel's features and the memory elements it reads are, and no more
        than what those elements had themselves. It orders frames and regions by how well memory
        explains them, whatever the picture's or the memory's size; it is no probability and not
        calibrated to an error of color. A frame given in color has 1; the same picture predicted
        from another's memory has less, as a pixel reads top_k elements and not its twin alone.
        """
        self._require_begun()
        if tuple(luma.shape) != (1, 1, *self._size):
            raise ValueError(f"luma: expected (1, 1, *{self._size}), got {tuple(luma.shape)}")
        luma = luma.to(self._device, torch.float32)
        if self._fresh and self.settings.first_frame_is_exemplar:
            self._exemplars.pin_only(index)
        self._fresh = False
        self._carried.time += 1
        frame = self._encode(luma)
        given = self._given(index)
        arrived = self._load_exemplars(index, given)
        if given is not None:
            self._take_given(frame, given)
            ones = torch.ones_like(luma) if want_confidence else None
            return Step(self._exemplars[given].chroma.clone(), ones)
        planes, trust = self._predict(frame, arrived)
        chroma = self._padding.crop(planes) * CHROMA_SCALE
        return Step(chroma.contiguous(), self._enlarged(trust) if want_confidence else None)

    def save_state(self) -> State:
        """See Propagator.save_state."""
        self._require_begun()
        tensors = {f"bank.{k}": t for k, t in self._bank.tensors().items()}
        tensors |= {f"exemplars.{k}": t for k, t in self._exemplars.tensors().items()}
        tensors |= {f"carried.{k}": t for k, t in self._carried.tensors().items()}
        values: dict[str, Json] = {
            "format": STATE_FORMAT,
            "size": list(self._size),
            "epoch": self._epoch,
            "fresh": self._fresh,
            **self._carried.values(),
            "arriving": list(self._arriving),
            "bank": self._bank.values(),
            "exemplars": self._exemplars.values(),
        }
        return State({k: t.contiguous() for k, t in tensors.items()}, values)

    def load_state(self, state: State) -> None:
        """See Propagator.load_state; network and settings must be those of the saved shot.

        Raises ValueError when the state is of another format or incomplete.
        """
        values = state.values
        if values.get("format") != STATE_FORMAT:
            raise ValueError(f"state: expected format {STATE_FORMAT}, got {values.get('format')}")
        height, width = (int(str(n)) for n in array(values, "size"))
        self._set_size((height, width))
        tensors = {k: t.to(self._device) for k, t in state.tensors.items()}
        self._exemplars.restore(below(tensors, "exemplars."), mapping(values, "exemplars"))
        self._bank.restore(below(tensors, "bank."), mapping(values, "bank"))
        self._carried = Carried.restored(below(tensors, "carried."), values)
        self._epoch = integer(values, "epoch")
        self._fresh = bool(values.get("fresh"))
        self._arriving = [str(name) for name in array(values, "arriving")]

    @property
    def nbytes(self) -> int:
        """See Propagator.nbytes: memory, exemplars and hidden state."""
        if self._size == (0, 0):
            return 0
        return self._bank.nbytes + self._exemplars.nbytes + self._carried.nbytes

    @property
    def memory_sizes(self) -> tuple[int, int]:
        """Elements in working memory, exemplars included, and in long-term memory."""
        self._require_begun()
        return self._bank.sizes

    @property
    def exemplars_held(self) -> tuple[str, ...]:
        """Names of the exemplars in memory now: @N is pinned to frame N, #N is unpinned."""
        self._require_begun()
        return self._bank.exemplars

    # One frame, in the order of a step.

    def _encode(self, luma: Tensor) -> Encoded:
        """luma: (1, 1, H, W), CIE L."""
        padded = self._padding.pad((luma - 50.0) / 50.0)
        return Encoded(padded, *self.network.encode(padded))

    def _given(self, index: int) -> str | None:
        """The exemplar that is this very frame, when such frames come back untouched."""
        if not self.settings.first_frame_is_exemplar:
            return None
        name = self._exemplars.pinned_to(index)
        if name is None or self._exemplars[name].valid is not None:
            return None
        return name

    def _load_exemplars(self, index: int, given: str | None) -> bool:
        """Hold the exemplars near this frame. Returns whether one arrived by begin, put or cut."""
        memory = self.settings.memory
        wanted = [n for n in self._exemplars.nearest(index, memory.max_exemplars) if n != given]
        arrived = [n for n in wanted if n in self._arriving]
        missing = arrived
        if memory.permanent_exemplars:
            for name in self._bank.exemplars:
                if name not in wanted and name != given:
                    self._bank.remove_exemplar(name)
            missing = wanted
        for name in missing:
            if name not in self._bank.exemplars:
                self._bank.put_exemplar(name, self._exemplar_elements(self._exemplars[name]))
        self._arriving = []
        return bool(arrived)

    def _exemplar_elements(self, exemplar: Exemplar) -> Elements:
        """What memory keeps of an exemplar: nothing of the border that was invented for it."""
        frame = self._encode(exemplar.luma)
        planes = self._padding.pad(exemplar.chroma / CHROMA_SCALE)
        value = self.network.encode_value(frame.luma, planes, frame.features.f16)
        elements = self._elements(frame, value, torch.ones_like(frame.key.shrinkage).flatten())
        if exemplar.valid is None:
            return elements
        real = F.avg_pool2d(self._padding.pad(exemplar.valid, value=1.0), STRIDE).flatten() >= 0.5
        return elements.keep(real) if bool(real.any()) else elements

    def _take_given(self, frame: Encoded, name: str) -> None:
        """Mode A: the frame's colors are known; it enters memory for good."""
        planes = self._padding.pad(self._exemplars[name].chroma / CHROMA_SCALE)
        certain = torch.ones_like(frame.key.shrinkage).flatten()
        elements, value = self._remember(frame, planes, certain)
        self._bank.put_exemplar(name, elements)
        self._reinforce_if_due(value)

    def _predict(self, frame: Encoded, arrived: bool) -> tuple[Tensor, Tensor]:
        """Color a frame from memory; remember it when its turn has come.

        Returns padded planes (1, 2, Hp, Wp), ab / 110, and the trust of its pixels, (h w,).
        """
        memory = self.settings.memory
        height, width = frame.key.key.shape[-2:]
        # As upstream: without long-term memory, such a frame is read without its selection.
        selection = None if arrived and not memory.long_term else _rows(frame.key.selection)
        reading = self._bank.read(_rows(frame.key.key), selection)
        value = reading.value
        last = self._carried
        if not arrived and last.key is not None and last.value is not None:
            value = value + self.network.short_term_attn(frame.key.key, last.key, last.value)
        readout = value.view(height, width, 2, -1).permute(2, 3, 0, 1)  # (2, 512, h, w)
        memory_frame = arrived or self._carried.memory_due(memory.mem_every)
        tied = memory.deep_update_every < 0
        planes, _, self._carried.hidden = self.network.decoder(
            frame.features, readout, self._hidden_state(), update=not (tied and memory_frame)
        )
        trust = torch.minimum(reading.match, reading.trust)
        if memory_frame:
            elements, own = self._remember(frame, planes, trust)
            self._bank.add_frame(elements)
            if not arrived:
                self._reinforce_if_due(own)
        return planes, trust

    def _remember(self, frame: Encoded, planes: Tensor, trust: Tensor) -> tuple[Elements, Tensor]:
        """Make this the last memory frame. Returns its elements and its value (2, 512, h, w)."""
        value = self.network.encode_value(frame.luma, planes, frame.features.f16)
        elements = self._elements(frame, value, trust)
        self._carried.remember(frame.key.key, elements.value)
        return elements, value

    def _reinforce_if_due(self, value: Tensor) -> None:
        """Renew the hidden state from a memory frame's value, (2, 512, h, w)."""
        if self._carried.deep_due(self.settings.memory.deep_update_every):
            renewed = self.network.value_encoder.reinforce(value, self._hidden_state())
            self._carried.reinforce(renewed)

    def _hidden_state(self) -> Tensor:
        if self._carried.hidden is None:
            shape = (2, self.network.config.hidden, *self._cells)
            self._carried.hidden = torch.zeros(shape, device=self._device)
        return self._carried.hidden

    def _elements(self, frame: Encoded, value: Tensor, trust: Tensor) -> Elements:
        """value: (2, 512, h, w), a first."""
        return Elements(
            key=_rows(frame.key.key),
            shrinkage=frame.key.shrinkage.flatten(),
            selection=_rows(frame.key.selection),
            value=value.permute(2, 3, 0, 1)
            .flatten(2)
            .flatten(0, 1)
            .to(self.network.precision.values),
            trust=trust,
        )

    def _enlarged(self, trust: Tensor) -> Tensor:
        """trust: (h w,). Returns (1, 1, H, W) in 0..1."""
        cells = trust.view(1, 1, *self._cells)
        large = F.interpolate(cells, scale_factor=STRIDE, mode="bilinear", align_corners=False)
        return self._padding.crop(large).clamp(0.0, 1.0).contiguous()

    # State.

    def _restart(self) -> None:
        self._epoch += 1
        self._bank.forget_frames()
        self._carried = Carried.at_start(self.settings.memory.deep_update_every)
        self._arriving = self._exemplars.nearest(0, len(self._exemplars))

    def _set_size(self, size: tuple[int, int]) -> None:
        self._size = size
        self._padding = Padding.to_multiple(*size, MULTIPLE)
        self._cells = (-(-size[0] // MULTIPLE) * 7, -(-size[1] // MULTIPLE) * 7)
        self._bank = Bank(self.settings.memory, self._cells[0] * self._cells[1])

    def _require_begun(self) -> None:
        if self._size == (0, 0):
            raise ValueError("no shot: call begin with at least one exemplar first")

    @property
    def _device(self) -> torch.device:
        return self.network.decoder.pred.weight.device


def _rows(planes: Tensor) -> Tensor:
    """(1, C, h, w) -> (h w, C)."""
    return planes[0].flatten(1).T.contiguous()
