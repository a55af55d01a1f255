"""How a ColorMNet shot goes: exemplars, modes, memory, cuts and state; on a tiny random network."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest
import torch
from colormnet_clips import chroma, luma
from fill_weights import fill_
from torch import Tensor

from models.colormnet.bank import Bank
from models.colormnet.config import ColorMNetSettings, MemorySettings, NetworkConfig
from models.colormnet.key_encoder import Features, Key
from models.colormnet.network import ColorMNet
from models.colormnet.propagator import ColorMNetPropagator
from models.colormnet.store import Elements
from models.propagator import Exemplar, Propagator, State

SIZE = (100, 112)
TINY = NetworkConfig(
    key=8, value=16, hidden=4, trunk=8, trunk_blocks=(1, 1, 1), value_blocks=(1, 1, 1), tokens=12,
    token_blocks=4, token_heads=2, fusion_heads=2, decoder=16, gate=4,
)  # fmt: skip
SMALL = MemorySettings(
    mem_every=2, max_mid_term_frames=4, min_mid_term_frames=2, num_prototypes=8,
    max_long_term_elements=40, top_k=6,
)  # fmt: skip


class Remembering(ColorMNet):
    """Encodes every picture once, so that thousands of steps cost seconds."""

    def encode(self, luma: Tensor) -> tuple[Features, Key]:
        known = self.__dict__.setdefault("_known", {})
        name = float(luma.double().sum())
        if name not in known:
            known[name] = super().encode(luma)
        return known[name]


@pytest.fixture(scope="module")
def network() -> ColorMNet:
    network = ColorMNet(TINY)
    fill_(network.state_dict())
    return network


@pytest.fixture
def new(network: ColorMNet) -> Callable[..., ColorMNetPropagator]:
    def make(own_frame: bool = False, **memory: int | bool) -> ColorMNetPropagator:
        settings = ColorMNetSettings(SMALL, own_frame).with_memory(**memory)
        return ColorMNetPropagator(network, settings)

    return make


def frame(t: int) -> Tensor:
    return luma(*SIZE, t)


def exemplar(seed: int, index: int | None = None, digest: str = "") -> Exemplar:
    return Exemplar(luma(*SIZE, 0, seed), chroma(*SIZE, 0, seed), index, digest=digest)


def run(shot: ColorMNetPropagator, frames: range) -> Tensor:
    return torch.cat([shot.step(frame(t), index=t).chroma for t in frames])


def test_it_fulfills_the_protocols(new: Callable[..., ColorMNetPropagator]) -> None:
    assert isinstance(new(), Propagator)


def test_memory_is_flat_over_thousands_of_steps() -> None:
    network = Remembering(TINY)
    fill_(network.state_dict())
    shot = ColorMNetPropagator(network, ColorMNetSettings(SMALL).with_memory(mem_every=4))
    shot.begin([exemplar(5)])
    frames = [frame(t) for t in range(7)]
    sizes = set()
    for t in range(2000):
        step = shot.step(frames[t % 7], index=t)
        if t >= 50:
            sizes.add(shot.nbytes)
    assert len(sizes) == 1
    assert bool(step.chroma.isfinite().all())
    working, long_term = shot.memory_sizes
    assert working <= SMALL.max_mid_term_frames * 49
    assert long_term <= SMALL.max_long_term_elements


def test_the_given_frame_comes_back_untouched(new: Callable[..., ColorMNetPropagator]) -> None:
    shot, given = new(own_frame=True), exemplar(0, index=0)
    shot.begin([given])
    step = shot.step(frame(0), index=0, want_confidence=True)
    assert torch.equal(step.chroma, given.chroma)
    assert step.confidence is not None
    assert bool((step.confidence == 1.0).all())
    assert not torch.equal(shot.step(frame(1), index=1).chroma, given.chroma)


def test_an_unpinned_exemplar_can_be_the_first_frame(
    new: Callable[..., ColorMNetPropagator],
) -> None:
    pinned, unpinned = new(own_frame=True), new(own_frame=True)
    pinned.begin([exemplar(0, index=7)])
    unpinned.begin([exemplar(0)])
    assert torch.equal(run(pinned, range(7, 11)), run(unpinned, range(7, 11)))


def test_a_separate_exemplar_adds_itself_and_the_frame(
    new: Callable[..., ColorMNetPropagator],
) -> None:
    shot = new()
    shot.begin([exemplar(5)])
    run(shot, range(1))
    assert shot.memory_sizes == (2 * 49, 0)


def test_a_still_is_a_clip_of_one_frame(new: Callable[..., ColorMNetPropagator]) -> None:
    for long_term in (True, False):
        shot = new(long_term=long_term)
        shot.begin([exemplar(5)])
        step = shot.step(frame(0), index=0)
        assert step.chroma.shape == (1, 2, *SIZE)
        assert float(step.chroma.abs().max()) <= 110.0


@pytest.mark.parametrize("deep", [-1, 0, 3])
@pytest.mark.parametrize("long_term", [True, False])
def test_a_restored_shot_goes_on_bit_for_bit(
    new: Callable[..., ColorMNetPropagator], deep: int, long_term: bool
) -> None:
    shot = new(deep_update_every=deep, long_term=long_term)
    shot.begin([exemplar(5), exemplar(3, index=20)])
    run(shot, range(11))
    shot.put_exemplar(exemplar(9, index=4))
    state = shot.save_state()
    text = json.dumps(dict(state.values))
    expected = run(shot, range(11, 18))
    other = new(deep_update_every=deep, long_term=long_term)
    other.load_state(State(state.tensors, json.loads(text)))
    assert torch.equal(run(other, range(11, 18)), expected)
    assert all(t.is_contiguous() for t in state.tensors.values())


def test_a_state_of_another_format_is_refused(new: Callable[..., ColorMNetPropagator]) -> None:
    with pytest.raises(ValueError, match="format"):
        new().load_state(State({}, {"format": 99}))


def test_exemplars_stay_for_good(new: Callable[..., ColorMNetPropagator]) -> None:
    shot = new(mem_every=1)
    shot.begin([exemplar(5), exemplar(6, index=100), exemplar(7, index=200)])
    run(shot, range(1))
    held = shot.save_state().tensors["bank.permanent.value"]
    assert len(held) == 3 * 49
    run(shot, range(1, 30))
    assert shot.memory_sizes[1] > 0  # frames were compressed
    assert torch.equal(shot.save_state().tensors["bank.permanent.value"], held)


def test_one_exemplar_among_the_official_rules_and_ours_is_the_same(
    new: Callable[..., ColorMNetPropagator],
) -> None:
    ours, official = new(mem_every=1), new(mem_every=1, permanent_exemplars=False)
    for shot in (ours, official):
        shot.begin([exemplar(5)])
    assert torch.equal(run(ours, range(14)), run(official, range(14)))


def test_more_exemplars_are_the_same_by_both_rules_until_memory_is_compressed(
    new: Callable[..., ColorMNetPropagator],
) -> None:
    results = []
    for permanent in (True, False):
        shot = new(max_mid_term_frames=20, permanent_exemplars=permanent)
        shot.begin([exemplar(5)])
        before = run(shot, range(4))
        shot.put_exemplar(exemplar(2))
        results.append(torch.cat((before, run(shot, range(4, 9)))))
    torch.testing.assert_close(results[0], results[1], rtol=0.0, atol=2e-2)


def test_an_exemplar_put_mid_shot_acts_from_the_next_step(
    new: Callable[..., ColorMNetPropagator],
) -> None:
    with_it, without = (new(mem_every=5, max_mid_term_frames=20) for _ in range(2))
    for shot in (with_it, without):
        shot.begin([exemplar(5)])
        run(shot, range(3))
    before = with_it.memory_sizes[0]
    with_it.put_exemplar(exemplar(2))
    assert with_it.memory_sizes[0] == before
    assert not torch.equal(run(with_it, range(3, 4)), run(without, range(3, 4)))
    assert with_it.memory_sizes[0] == before + 2 * 49  # the exemplar, and the frame at once
    assert without.memory_sizes[0] == before
    run(with_it, range(4, 8))
    assert with_it.memory_sizes[0] == before + 2 * 49  # mem_every counts from that frame
    run(with_it, range(8, 9))
    assert with_it.memory_sizes[0] == before + 3 * 49


def test_an_exemplar_pinned_to_the_same_frame_replaces_the_other(
    new: Callable[..., ColorMNetPropagator],
) -> None:
    shot = new(mem_every=50)
    shot.begin([exemplar(5, index=3, digest="aa")])
    run(shot, range(1))
    first = shot.save_state().tensors["bank.permanent.value"]
    shot.put_exemplar(exemplar(5, index=3, digest="aa"))  # the same picture: nothing happens
    run(shot, range(1, 2))
    assert shot.memory_sizes == (2 * 49, 0)
    shot.put_exemplar(exemplar(8, index=3, digest="bb"))
    run(shot, range(2, 3))
    second = shot.save_state().tensors["bank.permanent.value"]
    assert second.shape == first.shape
    assert not torch.equal(second, first)


def test_of_many_exemplars_the_nearest_are_held(
    new: Callable[..., ColorMNetPropagator],
) -> None:
    shot = new(max_exemplars=3)
    pins = [None, *range(0, 200, 10)]
    shot.begin([exemplar(n, index) for n, index in enumerate(pins)])
    shot.step(frame(0), index=42)
    assert set(shot.exemplars_held) == {"#0", "@40", "@50"}
    nbytes = shot.nbytes
    shot.step(frame(1), index=150)
    assert set(shot.exemplars_held) == {"#0", "@150", "@140"}
    assert shot.nbytes == nbytes


def test_a_cut_keeps_exemplars_and_nothing_else(
    new: Callable[..., ColorMNetPropagator],
) -> None:
    shot, fresh = new(), new()
    for s in (shot, fresh):
        s.begin([exemplar(5), exemplar(3, index=2)])
    run(shot, range(9))
    shot.reset()
    assert torch.equal(run(shot, range(20, 26)), run(fresh, range(20, 26)))


def test_an_exemplars_invented_border_stays_out_of_memory(
    new: Callable[..., ColorMNetPropagator],
) -> None:
    valid = torch.ones(1, 1, *SIZE)
    valid[..., 56:] = 0.0
    half = dataclasses.replace(exemplar(5), valid=valid)
    shot = new()
    shot.begin([half])
    run(shot, range(1))
    held = len(shot.save_state().tensors["bank.permanent.key"])
    assert 7 * 3 <= held <= 7 * 4
    assert bool((shot.step(frame(1), index=1).chroma.isfinite()).all())


def test_untied_deep_updates_wait_for_a_memory_frame(
    new: Callable[..., ColorMNetPropagator],
) -> None:
    shot = new(own_frame=True, mem_every=4, deep_update_every=1)
    shot.begin([exemplar(0, index=0)])
    deep = []
    for t in range(9):
        shot.step(frame(t), index=t)
        deep.append(shot.save_state().values["last_deep"])
    assert deep == [0, 0, 0, 0, 4, 4, 4, 4, 8]


def test_confidence_is_a_share_and_drops_where_nothing_matches(
    new: Callable[..., ColorMNetPropagator],
) -> None:
    shot = new()
    shot.begin([Exemplar(frame(0), chroma(*SIZE, 0))])
    same = shot.step(frame(0), index=0, want_confidence=True).confidence
    other = shot.step(100.0 - frame(40), index=1, want_confidence=True).confidence
    assert same is not None
    assert other is not None
    assert same.shape == (1, 1, *SIZE)
    assert 0.0 <= float(other.min()) <= float(same.max()) <= 1.0
    assert float(same.mean()) > float(other.mean())
    assert shot.step(frame(2), index=2).confidence is None


def test_the_workspace_bounds_reading_and_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(1)

    def elements(count: int) -> Elements:
        def rand(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator)

        return Elements(
            rand(count, 8), 1 + rand(count), rand(count, 8), rand(count, 6), rand(count)
        )

    frames, queries = elements(5000), elements(70)
    readings, used = [], []
    for workspace in (1, 40 * 5000 * 4, 2**30):
        settings = dataclasses.replace(SMALL, workspace_bytes=workspace, max_mid_term_frames=99)
        bank = Bank(settings, 5000)
        bank.add_frame(frames)
        readings.append(bank.read(queries.key, queries.selection))
        used.append(bank.work["use"].clone())
    for reading, use in zip(readings[1:], used[1:], strict=True):
        torch.testing.assert_close(reading.value, readings[0].value, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(use, used[0], rtol=1e-5, atol=1e-6)
    difference = frames.key[None] - queries.key[:, None]
    scores = -(frames.shrinkage / 8**0.5) * (queries.selection[:, None] * difference**2).sum(-1)
    best = scores.topk(SMALL.top_k)
    weights = torch.zeros_like(scores).scatter(1, best.indices, best.values.softmax(1))
    torch.testing.assert_close(readings[0].value, weights @ frames.value, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(used[0], weights.sum(0), rtol=1e-4, atol=1e-5)


def test_memory_keeps_the_counts_that_the_rules_ask_for() -> None:
    settings = dataclasses.replace(SMALL, num_prototypes=200, max_long_term_elements=250)
    bank = Bank(settings, 10)  # fewer candidates than prototypes
    for number in range(40):
        key = torch.full((10, 8), float(number))
        frame_elements = Elements(
            key, torch.ones(10), torch.ones(10, 8), torch.ones(10, 6), torch.ones(10)
        )
        if number == 0:
            bank.put_exemplar("@0", frame_elements)
        else:
            bank.add_frame(frame_elements)
        bank.read(key, torch.ones(10, 8))
        assert bank.sizes[0] <= settings.max_mid_term_frames * 10
        assert bank.sizes[1] <= settings.max_long_term_elements
    assert float(bank.permanent["key"].max()) == 0.0


def test_uncompressed_frames_may_be_none_but_the_first(
    new: Callable[..., ColorMNetPropagator],
) -> None:
    shot = new(mem_every=1, min_mid_term_frames=1, max_mid_term_frames=2)
    shot.begin([exemplar(5)])
    assert bool(run(shot, range(8)).isfinite().all())
    assert shot.memory_sizes[0] == 49


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"mem_every": 0}, "mem_every"),
        ({"min_mid_term_frames": 4}, "max_mid_term_frames"),
        ({"max_long_term_elements": 7}, "max_long_term_elements"),
    ],
)
def test_impossible_memory_is_refused_by_name(changes: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        dataclasses.replace(SMALL, **changes)


def test_presets_are_named() -> None:
    assert ColorMNetSettings.preset("low_memory").memory.mem_every == 10
    with pytest.raises(ValueError, match="balanced"):
        MemorySettings.preset("huge")


def test_misuse_says_what_was_expected(new: Callable[..., ColorMNetPropagator]) -> None:
    shot = new()
    with pytest.raises(ValueError, match="begin"):
        shot.step(frame(0), index=0)
    with pytest.raises(ValueError, match="at least one"):
        shot.begin([])
    other = Exemplar(torch.zeros(1, 1, 20, 30), torch.zeros(1, 2, 20, 30))
    with pytest.raises(ValueError, match=r"\(20, 30\)"):
        shot.begin([exemplar(5), other])
    shot.begin([exemplar(5)])
    with pytest.raises(ValueError, match="luma"):
        shot.step(torch.zeros(1, 1, 20, 30), index=0)
