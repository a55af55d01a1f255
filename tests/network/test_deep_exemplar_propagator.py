"""What the Deep Exemplar propagator adds to the published driver: sizes, exemplars, state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import deep_exemplar_recipe as recipe
import pytest
import torch
from deep_exemplar_reference import ReferencePropagator
from torch import Tensor

from models.deep_exemplar.config import DeepExemplarSettings
from models.deep_exemplar.networks import Precision, load_networks, stages
from models.deep_exemplar.propagator import DeepExemplarPropagator
from models.propagator import Exemplar, Propagator
from models.weights import WeightsMismatch

H, W = 48, 64


def luma(t: int, height: int = H, width: int = W) -> Tensor:
    return recipe.luma(t, height, width, seed=1)


def still(seed: int = 3, height: int = H, width: int = W, index: int | None = None) -> Exemplar:
    return recipe.exemplar(recipe.rgb_frame(0, height, width, seed=seed, colored=True), index=index)


def made(precision: Precision = "exact", **settings: object) -> DeepExemplarPropagator:
    chosen = {"use_half_resolution": False, **settings}
    return DeepExemplarPropagator(
        stages(recipe.networks(), precision=precision),
        DeepExemplarSettings(**chosen),  # type: ignore[arg-type]
    )


def test_it_is_a_propagator() -> None:
    assert isinstance(made(), Propagator)


def test_exact_steps_equal_a_plain_dense_reading_bit_for_bit() -> None:
    reference, propagator = ReferencePropagator(recipe.networks()), made()
    reference.begin([still()])
    propagator.begin([still()])
    with torch.inference_mode():
        for t in range(2):
            expected = reference.step(luma(t), index=t, want_confidence=True)
            got = propagator.step(luma(t), index=t, want_confidence=True)
            assert torch.equal(got.chroma, expected.chroma)
            assert expected.confidence is not None
            assert got.confidence is not None
            assert torch.equal(got.confidence, expected.confidence)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (50, 61), (33, 100)])
@pytest.mark.parametrize("half", [False, True])
def test_any_size_goes_in_and_comes_back(height: int, width: int, half: bool) -> None:
    propagator = made(use_half_resolution=half)
    propagator.begin([still(height=height, width=width)])
    step = propagator.step(luma(0, height, width), index=0, want_confidence=True)
    assert step.chroma.shape == (1, 2, height, width)
    assert step.confidence is not None
    assert step.confidence.shape == (1, 1, height, width)
    assert 0 <= step.confidence.min() <= step.confidence.max() <= 1
    assert step.chroma.isfinite().all()


def test_padding_adds_no_color_to_the_exemplar() -> None:
    padded = made()
    padded.begin([still(height=46, width=61)])
    colors = padded.save_state().tensors["exemplars.0.colors"]
    assert colors.shape[0] == 12 * 16 - 2  # two corners hold less than half a cell of it
    chroma = still(height=46, width=61).chroma
    assert colors.amin(0).ge(chroma.amin((0, 2, 3))).all()
    assert colors.amax(0).le(chroma.amax((0, 2, 3))).all()


def test_invented_borders_are_never_matched() -> None:
    exemplar = still()
    valid = torch.ones(1, 1, H, W)
    valid[..., 30:] = 0
    painted = exemplar.chroma.clone()
    painted[:, 0, :, 30:] = 1000.0
    propagator = made()
    propagator.begin([replace(exemplar, chroma=painted, valid=valid)])
    tensors = propagator.save_state().tensors
    assert tensors["exemplars.0.colors"].shape[0] == 12 * 8  # 30 columns: 7 cells and a half
    assert tensors["exemplars.0.colors"].max() < 100
    assert tensors["exemplars.0.vectors"].shape == (256, 12 * 8)
    propagator.step(luma(0), index=0)
    with pytest.raises(ValueError, match="all border"):
        propagator.begin([replace(exemplar, valid=torch.zeros_like(valid))])


def test_a_mask_of_ones_changes_nothing() -> None:
    plain, masked = made(), made()
    plain.begin([still()])
    masked.begin([replace(still(), valid=torch.ones(1, 1, H, W))])
    got = masked.step(luma(0), index=0).chroma
    assert torch.equal(got, plain.step(luma(0), index=0).chroma)


def test_of_several_exemplars_each_position_takes_the_best_match() -> None:
    one, other, both = made(), made(), made()
    one.begin([still(3)])
    other.begin([still(8)])
    both.begin([still(3), still(8)])
    similarities = [
        p.step(luma(0), index=0, want_confidence=True).confidence for p in (one, other, both)
    ]
    assert similarities[0] is not None
    assert similarities[1] is not None
    assert similarities[2] is not None
    assert torch.equal(similarities[2], torch.maximum(similarities[0], similarities[1]))
    assert (similarities[0] > similarities[1]).any()
    assert (similarities[0] < similarities[1]).any()


def test_a_pinned_exemplar_wins_near_its_frame_and_fades() -> None:
    first = made()
    first.begin([still(3)])
    alone = first.step(luma(0), index=100).chroma
    both = made(pin_preference=2.0, pin_reach=10, propagate=False)
    both.begin([still(8), still(3, index=100)])
    assert torch.equal(both.step(luma(0), index=100).chroma, alone)
    assert torch.equal(both.step(luma(0), index=96).chroma, alone)
    mixed = made(propagate=False)
    mixed.begin([still(8), still(3)])
    far = both.step(luma(0), index=110).chroma
    assert torch.equal(far, mixed.step(luma(0), index=110).chroma)
    assert not torch.equal(far, alone)


def test_an_exemplar_put_mid_shot_counts_from_the_next_frame() -> None:
    propagator, expected = made(propagate=False), made(propagate=False)
    propagator.begin([still(3, index=0)])
    before = propagator.step(luma(0), index=0).chroma
    propagator.put_exemplar(still(8, index=5))
    assert not torch.equal(propagator.step(luma(0), index=5).chroma, before)
    propagator.put_exemplar(still(3, index=5))
    propagator.put_exemplar(still(8, index=0))
    expected.begin([still(8, index=0), still(3, index=5)])
    got = propagator.step(luma(0), index=2).chroma
    assert torch.equal(got, expected.step(luma(0), index=2).chroma)


def test_an_unpinned_exemplar_with_a_known_digest_is_held_once() -> None:
    propagator = made()
    propagator.begin([replace(still(), digest="ab")])
    size = propagator.nbytes
    propagator.put_exemplar(replace(still(), digest="ab"))
    assert propagator.nbytes == size
    propagator.put_exemplar(replace(still(8), digest="cd"))
    assert propagator.nbytes == 2 * size


def test_a_restored_state_continues_bit_for_bit() -> None:
    propagator, restored = made(), made()
    propagator.begin([still(3), still(8, index=7)])
    propagator.step(luma(0), index=0)
    state = propagator.save_state()
    expected = [propagator.step(luma(t), index=t).chroma for t in (1, 2)]
    restored.load_state(state)
    assert [restored.step(luma(t), index=t).chroma.equal(expected[t - 1]) for t in (1, 2)] == [
        True,
        True,
    ]
    assert restored.nbytes == propagator.nbytes
    again = made()
    again.load_state(state)
    assert torch.equal(again.step(luma(1), index=1).chroma, expected[0])


def test_a_state_of_another_working_scale_or_kind_is_refused() -> None:
    propagator = made()
    propagator.begin([still()])
    state = propagator.save_state()
    with pytest.raises(ValueError, match="use_half_resolution differs"):
        made(use_half_resolution=True).load_state(state)
    with pytest.raises(ValueError, match="none of 'height'"):
        made().load_state(replace(state, values={}))


def test_a_cut_forgets_the_frame_before_and_keeps_the_exemplar() -> None:
    propagator = made()
    propagator.begin([still()])
    first = propagator.step(luma(0), index=0).chroma
    propagator.step(luma(1), index=1)
    propagator.reset()
    assert torch.equal(propagator.step(luma(0), index=2).chroma, first)


def test_the_exemplars_own_colors_start_only_a_shot_that_begins_on_it() -> None:
    def first_of(*exemplars: Exemplar, asked: bool = True, cut: bool = False) -> Tensor:
        propagator = made(first_frame_is_exemplar=asked)
        propagator.begin(exemplars)
        if cut:
            propagator.reset()
        return propagator.step(luma(0), index=9).chroma

    zeros = first_of(still(), asked=False)
    colors = first_of(still())
    assert not torch.equal(colors, zeros)
    assert torch.equal(first_of(still(index=9)), colors)
    assert torch.equal(first_of(still(index=9), cut=True), colors)
    assert torch.equal(first_of(still(index=8)), zeros)
    assert torch.equal(first_of(still(), cut=True), zeros)


@pytest.mark.parametrize(("precision", "greatest"), [("balanced", 40.0), ("fast", 200.0)])
def test_rounded_networks_stay_in_sight_of_the_exact_ones(
    precision: Precision, greatest: float
) -> None:
    exact, rounded = made(), made(precision)
    exact.begin([still()])
    rounded.begin([still()])
    expected = exact.step(luma(0), index=0, want_confidence=True)
    got = rounded.step(luma(0), index=0, want_confidence=True)
    assert got.chroma.dtype == torch.float32
    difference = (got.chroma - expected.chroma).abs()
    assert difference.max() < greatest
    assert difference.mean() < 20
    assert got.confidence is not None
    assert expected.confidence is not None
    torch.testing.assert_close(got.confidence, expected.confidence, rtol=0, atol=0.05)


def test_misuse_is_named_with_expected_and_got() -> None:
    propagator = made()
    with pytest.raises(ValueError, match="begin"):
        propagator.step(luma(0), index=0)
    with pytest.raises(ValueError, match="at least one exemplar"):
        propagator.begin([])
    with pytest.raises(ValueError, match=r"exemplar.luma: expected \(1, 1, 48, 64\)"):
        propagator.begin([still(), still(height=64)])
    propagator.begin([still()])
    with pytest.raises(ValueError, match=r"luma: expected \(1, 1, 48, 64\), got \(1, 1, 64, 64\)"):
        propagator.step(luma(0, 64, 64), index=0)
    with pytest.raises(ValueError, match="temperature"):
        DeepExemplarSettings(temperature=-1)


def test_official_files_load_strictly_and_misfits_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from models.deep_exemplar.__main__ import check

    networks = recipe.networks()
    files = {
        name: tmp_path / f"{name}.pth"
        for name in ("vgg19_conv", "nonlocal_net_iter_76000", "colornet_iter_76000")
    }
    for path, network in zip(
        files.values(), (networks.vgg, networks.warp, networks.color), strict=True
    ):
        torch.save(network.state_dict(), path)
    loaded = load_networks(*files.values())
    assert torch.equal(loaded.color.conv10_ab.weight, networks.color.conv10_ab.weight)
    assert check([tmp_path]) == 0
    assert "32 tensors, 20,024,384 parameters" in capsys.readouterr().out

    spoiled = networks.warp.state_dict()
    del spoiled["theta.bias"]
    torch.save(spoiled, files["nonlocal_net_iter_76000"])
    files["vgg19_conv"].unlink()
    assert check([tmp_path]) == 1
    out = capsys.readouterr().out
    assert "vgg19_conv: expected one file" in out
    assert "1 missing [theta.bias]" in out
    torch.save(networks.vgg.state_dict(), files["vgg19_conv"])
    with pytest.raises(WeightsMismatch, match="theta\\.bias"):
        load_networks(*files.values())
