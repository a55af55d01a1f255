"""How the starter walks through a shot; with its packaged weights at small sizes."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
import torch

from models.propagator import Exemplar, Propagator
from models.starter import Starter, StarterPropagator, StarterSettings, load_starter
from models.starter.flow import carry, why_no_flow
from models.starter.loading import WEIGHTS

SIZE = (72, 104)  # no multiple of the stride


@pytest.fixture(scope="module")
def network() -> Starter:
    return load_starter()


def picture(shift: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Luma and chroma of three striped shapes, moved right by `shift` pixels."""
    height, width = SIZE
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x = x - shift
    luma = 60 + 12 * torch.sin(y / 5.0) * torch.cos(x / 7.0)
    chroma = torch.stack((torch.full_like(luma, -15.0), torch.full_like(luma, 20.0)))
    disk = (x - 35) ** 2 + (y - 36) ** 2 < 20**2
    luma = torch.where(disk, 30 + 8 * ((x // 4) % 2).float(), luma)
    chroma = torch.where(disk, torch.tensor([45.0, 10.0])[:, None, None], chroma)
    box = (x > 66) & (x < 92) & (y > 14) & (y < 52)
    luma = torch.where(box, 80 + 10 * ((y // 5) % 2).float(), luma)
    chroma = torch.where(box, torch.tensor([5.0, -40.0])[:, None, None], chroma)
    return luma[None, None].float(), chroma[None].float()


def exemplar(shift: int = 0, index: int | None = None) -> Exemplar:
    return Exemplar(*picture(shift), index=index)


def started(network: Starter, *exemplars: Exemplar, blend: float = 0.0) -> StarterPropagator:
    propagator = StarterPropagator(network, StarterSettings(temporal_blend=blend))
    propagator.begin(exemplars)
    return propagator


def test_it_is_a_propagator(network: Starter) -> None:
    assert isinstance(StarterPropagator(network), Propagator)


def test_the_packaged_weights_are_small_and_finite(network: Starter) -> None:
    assert WEIGHTS.stat().st_size <= 4_000_000
    assert all(torch.isfinite(p).all() for p in network.parameters())


def test_the_colors_are_those_of_the_exemplar(network: Starter) -> None:
    propagator = started(network, exemplar())
    luma, truth = picture(6)
    chroma = propagator.step(luma, index=5).chroma
    assert chroma.shape == truth.shape
    error = torch.linalg.vector_norm(chroma - truth, dim=1)
    assert error.mean() < 0.35 * torch.linalg.vector_norm(truth, dim=1).mean()


def test_other_exemplar_colors_give_other_colors(network: Starter) -> None:
    luma, chroma = picture()
    first = started(network, Exemplar(luma, chroma)).step(luma, index=0).chroma
    second = started(network, Exemplar(luma, -chroma)).step(luma, index=0).chroma
    assert (first * second).mean() < 0


def test_a_frame_does_not_depend_on_the_frames_before(network: Starter) -> None:
    alone = started(network, exemplar())
    walked = started(network, exemplar())
    walked.step(picture(9)[0], index=0)
    luma = picture(4)[0]
    assert torch.equal(alone.step(luma, index=1).chroma, walked.step(luma, index=1).chroma)


def test_confidence_is_lower_where_nothing_matches(network: Starter) -> None:
    propagator = started(network, exemplar())
    torch.manual_seed(0)
    luma = picture()[0].clone()
    luma[..., 52:] = torch.rand(1, 1, SIZE[0], 52) * 100
    confidence = propagator.step(luma, index=1, want_confidence=True).confidence
    assert confidence is not None
    assert confidence.shape == (1, 1, *SIZE)
    assert confidence.min() >= 0
    assert confidence.max() <= 1
    assert confidence[..., 60:].mean() < confidence[..., :44].mean()


def test_confidence_is_only_made_when_asked(network: Starter) -> None:
    assert started(network, exemplar()).step(picture()[0], index=1).confidence is None


def test_a_pinned_exemplar_replaces_the_one_of_its_index(network: Starter) -> None:
    propagator = started(network, exemplar(0, index=3))
    before = propagator.nbytes
    luma, chroma = picture()
    propagator.put_exemplar(Exemplar(luma, -chroma, index=3))
    assert propagator.nbytes == before
    fresh = started(network, Exemplar(luma, -chroma, index=3))
    assert torch.equal(propagator.step(luma, index=9).chroma, fresh.step(luma, index=9).chroma)
    propagator.put_exemplar(exemplar(2, index=8))
    assert propagator.nbytes > before


def test_exemplars_are_encoded_once(network: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    memorize = network.memorize
    monkeypatch.setattr(network, "memorize", lambda *a: (calls.append(1), memorize(*a))[1])
    propagator = started(network, exemplar(0), exemplar(5))
    for index in range(3):
        propagator.step(picture(index)[0], index=index)
    assert len(calls) == 2


def test_invented_borders_offer_no_colors(network: Starter) -> None:
    luma, chroma = picture()
    valid = torch.ones(1, 1, *SIZE)
    valid[..., 56:] = 0
    wrong = chroma.clone()
    wrong[..., 64:] = 100.0
    masked = started(network, Exemplar(luma, wrong, valid=valid))
    assert masked.step(luma, index=0).chroma.max() < 75


@pytest.mark.parametrize("blend", [0.0, 0.9])
def test_restored_state_goes_on_bit_for_bit(network: Starter, blend: float) -> None:
    unbroken = started(network, exemplar(0, index=0), exemplar(7), blend=blend)
    for index in range(2):
        unbroken.step(picture(index)[0], index=index)
    state = unbroken.save_state()
    restored = StarterPropagator(network, StarterSettings(temporal_blend=blend))
    restored.load_state(state)
    luma = picture(2)[0]
    assert torch.equal(restored.step(luma, index=2).chroma, unbroken.step(luma, index=2).chroma)
    assert all(tensor.is_contiguous() for tensor in state.tensors.values())


def test_a_cut_drops_the_carried_colors_and_keeps_the_exemplars(network: Starter) -> None:
    propagator = started(network, exemplar(), blend=0.9)
    for index in range(2):
        propagator.step(picture(index)[0], index=index)
    propagator.reset()
    fresh = started(network, exemplar(), blend=0.9)
    luma = picture(20)[0]
    assert torch.equal(propagator.step(luma, index=2).chroma, fresh.step(luma, index=2).chroma)


def test_blending_steadies_what_stands_still(network: Starter) -> None:
    torch.manual_seed(3)
    luma = picture()[0]
    frames = [luma + torch.randn_like(luma) for _ in range(4)]
    change = {}
    for blend in (0.0, 0.9):
        propagator = started(network, exemplar(), blend=blend)
        chromas = [propagator.step(f, index=i).chroma for i, f in enumerate(frames)]
        change[blend] = sum((b - a).abs().mean() for a, b in pairwise(chromas))
    assert change[0.9] < 0.75 * change[0.0]


def test_true_colors_are_carried_further_than_guessed_ones(network: Starter) -> None:
    luma, chroma = picture()
    other = Exemplar(luma, chroma * 0.5)
    kept = {}
    for name, pinned in (("true", 0), ("guessed", 40)):
        propagator = StarterPropagator(network)
        propagator.begin([Exemplar(luma, chroma, index=pinned)])
        propagator.step(luma, index=0)
        before = propagator.save_state().tensors["last.chroma"]
        propagator.put_exemplar(Exemplar(luma, -chroma, index=pinned))
        propagator.put_exemplar(other)
        after = propagator.step(luma, index=1).chroma
        kept[name] = float((after - before).abs().mean())
    assert kept["true"] < 0.5 * kept["guessed"]


def test_blending_starts_from_a_pinned_exemplars_own_colors(network: Starter) -> None:
    pinned = exemplar(0, index=4)
    propagator = started(network, pinned, blend=0.9)
    assert torch.equal(propagator.step(pinned.luma, index=4).chroma, pinned.chroma)


def test_flow_carries_colors_to_where_things_went() -> None:
    (before, chroma), (now, truth) = picture(0), picture(3)
    carried = carry(chroma, before, now)
    moved = (carried.chroma - truth).abs()[..., 20:80].mean()
    assert moved < 0.4 * (chroma - truth).abs()[..., 20:80].mean()
    assert carried.trust.min() >= 0
    assert carried.trust.max() <= 1


def test_without_opencv_blending_says_why(
    network: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert "opencv" in why_no_flow()[0]
    StarterPropagator(network, StarterSettings(temporal_blend=0.0))
    with pytest.raises(ValueError, match="opencv"):
        StarterPropagator(network, StarterSettings(temporal_blend=0.5))


def test_a_self_ensemble_is_the_mean_of_the_frame_and_of_its_mirror_image(
    network: Starter,
) -> None:
    def colors(mirror: bool, ensemble: bool) -> torch.Tensor:
        settings = StarterSettings(temporal_blend=0.0, self_ensemble=ensemble)
        propagator = StarterPropagator(network, settings)
        frames = [[t.flip(-1) if mirror else t for t in picture(shift)] for shift in (0, 6)]
        propagator.begin([Exemplar(*frames[0])])
        chroma = propagator.step(frames[1][0], index=1).chroma
        return chroma.flip(-1) if mirror else chroma

    one, other, both = colors(False, False), colors(True, False), colors(False, True)
    assert not torch.allclose(one, other, atol=0.1)
    torch.testing.assert_close(both, (one + other) / 2, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(colors(True, True), both, atol=1e-3, rtol=1e-4)


def test_half_precision_stays_near_full(network: Starter) -> None:
    half = load_starter(precision="bf16")
    luma = picture(3)[0]
    full = started(network, exemplar()).step(luma, index=1).chroma
    near = started(half, exemplar()).step(luma, index=1).chroma
    assert (full - near).abs().median() < 0.5


def test_a_large_working_size_runs_smaller_inside_and_comes_back_whole(network: Starter) -> None:
    luma, chroma = picture()
    propagator = StarterPropagator(network, StarterSettings(temporal_blend=0.0, max_tokens=64))
    propagator.begin([Exemplar(luma, chroma)])
    step = propagator.step(luma, index=0, want_confidence=True)
    assert step.chroma.shape == chroma.shape
    assert step.confidence is not None
    assert step.confidence.shape == luma.shape


def test_misuse_names_what_was_expected(network: Starter) -> None:
    propagator = StarterPropagator(network)
    with pytest.raises(ValueError, match="begin"):
        propagator.step(picture()[0], index=0)
    with pytest.raises(ValueError, match="at least one"):
        propagator.begin([])
    propagator.begin([exemplar()])
    with pytest.raises(ValueError, match=r"\(1, 1, 72, 104\)"):
        propagator.step(torch.zeros(1, 1, 64, 64), index=0)
    with pytest.raises(ValueError, match="temporal_blend"):
        StarterSettings(temporal_blend=2.0)
    with pytest.raises(ValueError, match="precision"):
        load_starter(precision="fp8")
