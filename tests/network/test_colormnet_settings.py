"""ColorMNet's shots against a plain reading of its description, for settings nobody recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Protocol

import pytest
import torch
from colormnet_clips import chroma, luma
from colormnet_oracle import Network
from colormnet_oracle_clip import Memory, Oracle
from fill_weights import fill_
from torch import Tensor

from models.colormnet.config import ColorMNetSettings, MemorySettings, NetworkConfig
from models.colormnet.network import ColorMNet
from models.colormnet.propagator import ColorMNetPropagator
from models.propagator import Exemplar

TINY = NetworkConfig(
    key=8, value=16, hidden=4, trunk=8, trunk_blocks=(1, 1, 1), value_blocks=(1, 1, 1), tokens=12,
    token_blocks=4, token_heads=2, fusion_heads=2, decoder=16, gate=4, window=3,
)  # fmt: skip
TIGHT = Memory(
    mem_every=1, max_mid_term_frames=4, min_mid_term_frames=2, num_prototypes=12,
    max_long_term_elements=30, top_k=20,
)  # fmt: skip
SQUARE = (112, 112)  # needs no padding, so that few elements of memory tie
TOLERANCE = 5e-5  # of planes within -1..1; float32 against float64
OWN, OTHER = "own", "other"  # the colors of the frame itself, or of another picture
Given = Mapping[int, tuple[str, int]]  # step -> whose colors come with it, and their seed


class Compare(Protocol):
    """Runs a clip through both and compares every frame and the sizes of memory."""

    def __call__(
        self,
        size: tuple[int, int],
        frames: range,
        memory: Memory,
        given: Given,
        *,
        permanent: bool = False,
    ) -> Oracle: ...


@pytest.fixture(scope="module")
def network() -> ColorMNet:
    network = ColorMNet(TINY)
    fill_(network.state_dict())
    return network


@pytest.fixture(scope="module")
def oracle(network: ColorMNet) -> Network:
    weights = {k: t.double() for k, t in network.state_dict().items()}
    return Network(weights, dino_heads=2, dino_layers=(0, 1, 2, 3), fuse_heads=2)


@pytest.fixture
def compare(network: ColorMNet, oracle: Network) -> Compare:
    def run(
        size: tuple[int, int],
        frames: range,
        memory: Memory,
        given: Given,
        *,
        permanent: bool = False,
    ) -> Oracle:
        constants = asdict(memory)
        long_term = constants.pop("enable_long_term")
        settings = ColorMNetSettings(
            MemorySettings(**constants, long_term=long_term, permanent_exemplars=permanent),
            first_frame_is_exemplar=any(whose == OWN for whose, _ in given.values()),
        )
        shot, plain = ColorMNetPropagator(network, settings), Oracle(oracle, memory)
        for number, index in enumerate(frames):
            frame, colors, other = luma(*size, index, 3), None, None
            if number in given:
                whose, seed = given[number]
                colors = chroma(*size, index, seed)
                other = luma(*size, 0, seed) if whose == OTHER else None
                pin = index if whose == OWN else None
                exemplar = Exemplar(frame if other is None else other, colors, pin)
                if number == 0:
                    shot.begin([exemplar])
                else:
                    shot.put_exemplar(exemplar)
            got = shot.step(frame, index=index).chroma[0] / 110.0
            expected = plain.step(
                _image(frame),
                None if other is None else _image(other),
                None if colors is None else colors[0].double() / 110.0,
            )
            torch.testing.assert_close(
                got.double(), expected, rtol=0.0, atol=TOLERANCE, msg=f"step {number}"
            )
            assert shot.memory_sizes == (len(plain.working), len(plain.long))
        return plain

    return run


def _image(frame: Tensor) -> Tensor:
    """(1, 1, H, W), CIE L -> (3, H, W)."""
    return ((frame[0].double() - 50.0) / 50.0).expand(3, -1, -1)


@pytest.mark.parametrize(
    ("size", "whose"),
    [((57, 40), OTHER), ((8, 130), OWN), ((225, 33), OTHER), ((1, 1), OTHER)],
)
def test_any_size(compare: Compare, size: tuple[int, int], whose: str) -> None:
    compare(size, range(3), replace(TIGHT, max_mid_term_frames=9), {0: (whose, 7)})


@pytest.mark.parametrize("long_term", [True, False])
def test_a_still(compare: Compare, long_term: bool) -> None:
    compare(SQUARE, range(1), Memory(enable_long_term=long_term), {0: (OTHER, 7)})


@pytest.mark.parametrize(("deep", "whose"), [(0, OTHER), (2, OWN), (2, OTHER), (4, OWN)])
def test_deep_updates_that_are_not_tied_to_memory_frames(
    compare: Compare, deep: int, whose: str
) -> None:
    memory = Memory(mem_every=3, deep_update_every=deep)
    compare(SQUARE, range(7), memory, {0: (whose, 7), 4: (whose, 5)})


@pytest.mark.parametrize(
    ("changes", "evictions"),
    [
        ({}, 1),
        ({"max_long_term_elements": 36}, 0),  # the surplus is sometimes none at all
        ({"max_long_term_elements": 12}, 2),  # all of long-term memory goes
        ({"num_prototypes": 400, "max_long_term_elements": 500}, 1),  # more than candidates
        ({"max_mid_term_frames": 3}, 4),
    ],
)
def test_memory_compressed_and_evicted_again_and_again(
    compare: Compare, changes: dict[str, int], evictions: int
) -> None:
    plain = compare(SQUARE, range(9), replace(TIGHT, **changes), {0: (OWN, 7)})
    assert plain.consolidations >= 3
    assert plain.evictions >= evictions


@pytest.mark.parametrize("whose", [OWN, OTHER])
def test_memory_that_is_never_compressed(compare: Compare, whose: str) -> None:
    memory = Memory(mem_every=2, enable_long_term=False, top_k=200)
    compare(SQUARE, range(7), memory, {0: (whose, 7), 3: (whose, 5)})


@pytest.mark.parametrize("whose", [OWN, OTHER])
def test_later_exemplars_that_are_compressed_like_frames(compare: Compare, whose: str) -> None:
    plain = compare(SQUARE, range(9), TIGHT, {0: (whose, 7), 3: (whose, 5), 6: (whose, 8)})
    assert plain.evictions >= 1


def test_later_exemplars_that_are_kept_for_good_until_memory_is_compressed(
    compare: Compare,
) -> None:
    given = {0: (OWN, 7), 2: (OTHER, 5), 4: (OWN, 8)}
    compare(SQUARE, range(6), Memory(mem_every=3), given, permanent=True)


@pytest.mark.parametrize("whose", [OWN, OTHER])
def test_frames_taken_backward(compare: Compare, whose: str) -> None:
    compare(SQUARE, range(5, 0, -1), Memory(mem_every=2), {0: (whose, 7)})
