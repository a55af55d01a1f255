"""Facts of the published description that its golden tensors do not reach, one by one."""

from __future__ import annotations

from collections.abc import Iterator

import deep_exemplar_recipe as recipe
import numpy as np
import pytest
import torch
from scipy.linalg import solve
from skimage import color
from torch import Tensor

from models.deep_exemplar.config import DeepExemplarSettings
from models.deep_exemplar.geometry import Geometry
from models.deep_exemplar.matching import nearest
from models.deep_exemplar.networks import Stages, stages
from models.deep_exemplar.propagator import DeepExemplarPropagator
from models.deep_exemplar.smoother import smoothed
from models.deep_exemplar.vgg import color_input, gray_input
from models.deep_exemplar.warp import unit_positions
from models.propagator import Exemplar

H, W = 32, 48


class Spy:
    """Stages that cost nothing: vectors of 4 x 4 means, and chroma that tells frames apart."""

    def __init__(self) -> None:
        self.exemplars = 0
        self.channels: list[Tensor] = []

    def stages(self) -> Stages:
        return Stages(self._frame, self._exemplar, self._chroma, nearest)

    def _frame(self, luma: Tensor) -> Tensor:
        cells = torch.nn.functional.avg_pool2d(luma, 4).flatten()
        return torch.nn.functional.normalize(torch.stack((cells, 20 - cells), 1), dim=1)

    def _exemplar(self, lab: Tensor, keep: Tensor | None) -> Tensor:
        self.exemplars += 1
        return self._frame(lab[:, :1]).T.contiguous()

    def _chroma(self, channels: Tensor) -> Tensor:
        self.channels.append(channels)
        return channels[:, 1:3] * 0.5 + channels[:, 5:7] * 0.25 + channels[:, :1]


def shot(spy: Spy, **settings: object) -> DeepExemplarPropagator:
    chosen = {"use_half_resolution": False, **settings}
    return DeepExemplarPropagator(spy.stages(), DeepExemplarSettings(**chosen))  # type: ignore[arg-type]


def picture(seed: int, index: int | None = None) -> Exemplar:
    generator = torch.Generator().manual_seed(seed)
    luma = torch.rand(1, 1, H, W, generator=generator) * 100
    return Exemplar(luma, torch.randn(1, 2, H, W, generator=generator) * 30, index=index)


@pytest.fixture
def grad_on() -> Iterator[None]:
    """The networks as a training loop would leave them."""
    made = recipe.networks()
    parameters = [p for net in (made.vgg, made.warp, made.color) for p in net.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    with torch.enable_grad():
        yield
    for parameter in parameters:
        parameter.requires_grad_(False)


def test_an_exemplars_colors_reach_vgg_clipped_as_published() -> None:
    generator = np.random.default_rng(1)
    lab = generator.uniform((0, -110, -110), (100, 110, 110), (40, 50, 3))  # mostly out of gamut
    planes = torch.from_numpy(lab.transpose(2, 0, 1).copy())[None].float()
    planes[:, 0] -= 50
    got = color_input(planes)[0].permute(1, 2, 0).numpy()
    expected = color.xyz2rgb(_xyz(lab)).clip(0, 1)
    assert np.abs(got - expected).max() < 2e-5
    assert got.min() == 0.0
    assert got.max() == 1.0


def _xyz(lab: np.ndarray) -> np.ndarray:
    """Section 3 of the description, in float64: z is held at f = 0 or above, x is not."""
    fy = (lab[..., 0] + 16) / 116
    f = np.stack((lab[..., 1] / 500 + fy, fy, np.maximum(fy - lab[..., 2] / 200, 0)), -1)
    cube = np.where(f > 0.2068966, f**3, (f - 16 / 116) / 7.787)
    return cube * np.array((0.95047, 1.0, 1.08883))


def test_a_frame_reaches_vgg_as_lightness_without_gamma() -> None:
    luma = torch.linspace(0, 100, 9).view(1, 1, 3, 3) - 50
    got = gray_input(luma)
    assert torch.equal(got[:, 0], got[:, 2])
    torch.testing.assert_close(got[0, 0].flatten(), torch.linspace(0, 1, 9))


def test_layers_of_vgg_that_nobody_reads_are_not_run() -> None:
    vgg, ran = recipe.networks().vgg, set()
    hooks = [
        layer.register_forward_hook(lambda _m, _x, _y, n=name: ran.add(n))
        for name, layer in vgg.named_children()
    ]
    with torch.inference_mode():
        vgg(torch.rand(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    assert {name for name, _ in vgg.named_children()} - ran == {"conv5_3", "conv5_4"}


def test_borders_that_cannot_be_matched_do_not_move_the_mean() -> None:
    x = torch.randn(1, 8, 3, 4)
    keep = torch.arange(12) % 4 < 3
    changed = torch.where(keep.view(1, 1, 3, 4), x, x + 100)
    got, other = unit_positions(x, keep), unit_positions(changed, keep)
    torch.testing.assert_close(got[:, keep], other[:, keep])
    torch.testing.assert_close(got[:, keep], unit_positions(x[..., :3]))


@pytest.mark.parametrize("half", [False, True])
def test_sizes_that_the_official_code_takes_are_never_padded(half: bool) -> None:
    factor = 2 if half else 1
    for height in range(32, 321, 8):
        for width in range(32, 321, 16):
            taken = Geometry.of(height * factor, width * factor, half=half)
            assert taken.cells == (height // 4, width // 4)
            assert not any(vars(taken.padding).values())
    assert Geometry.of(432, 768, half=True).cells == (54, 96)  # not snapped to 416


def test_the_color_network_sees_seven_channels_in_the_published_order() -> None:
    spy = Spy()
    propagator, exemplar = shot(spy), picture(0)
    propagator.begin([exemplar])
    lumas = [picture(seed).luma for seed in (1, 2)]
    first, _ = [propagator.step(luma, index=t).chroma for t, luma in enumerate(lumas)]
    channels = spy.channels[1][0]
    assert torch.equal(channels[0], lumas[1][0, 0] - 50)
    assert torch.equal(channels[4], lumas[0][0, 0] - 50)  # the previous frame's, not this one's
    assert torch.equal(channels[5:], first[0])
    assert not spy.channels[0][0, 4:].any()  # zeros: L = 50 without color
    blocks = channels[1:4].reshape(3, H // 4, 4, W // 4, 4)
    assert torch.equal(blocks, blocks[:, :, :1, :, :1].expand_as(blocks))  # nearest, not blended
    pooled = torch.nn.functional.avg_pool2d(exemplar.chroma, 4).flatten(2)[0].T
    assert all((pooled == cell).all(1).any() for cell in channels[1:3, ::4, ::4].flatten(1).T)


def test_a_negative_similarity_reaches_the_network_and_not_the_confidence() -> None:
    spy = Spy()
    propagator = DeepExemplarPropagator(
        Stages(
            lambda luma: -torch.ones(H * W // 16, 1),
            lambda lab, keep: torch.ones(1, H * W // 16),
            spy.stages().chroma,
            nearest,
        ),
        DeepExemplarSettings(use_half_resolution=False),
    )
    propagator.begin([picture(0)])
    step = propagator.step(picture(1).luma, index=0, want_confidence=True)
    assert (spy.channels[0][0, 3] == -1).all()
    assert step.confidence is not None
    assert not step.confidence.any()


def test_what_depends_on_the_exemplar_alone_is_computed_once() -> None:
    spy = Spy()
    propagator = shot(spy)
    propagator.begin([picture(0), picture(1)])
    for t in range(4):
        propagator.step(picture(2).luma, index=t)
    propagator.reset()
    propagator.load_state(propagator.save_state())
    propagator.step(picture(2).luma, index=4)
    assert spy.exemplars == 2


def test_the_smoother_does_not_feed_back() -> None:
    plain, smooth = Spy(), Spy()
    shots = shot(plain), shot(smooth, smooth=True)
    for propagator in shots:
        propagator.begin([picture(0)])
    for t in range(2):
        luma = picture(t + 1).luma
        got = [propagator.step(luma, index=t).chroma for propagator in shots]
        assert not torch.allclose(got[0], got[1])
        torch.testing.assert_close(got[1], smoothed(got[0], luma))
    assert torch.equal(plain.channels[1], smooth.channels[1])


@pytest.mark.parametrize("propagate", [True, False])
@pytest.mark.parametrize("from_exemplar", [True, False])
def test_carrying_on_and_starting_from_the_exemplar_are_two_parameters(
    propagate: bool, from_exemplar: bool
) -> None:
    spy = Spy()
    propagator = shot(spy, propagate=propagate, first_frame_is_exemplar=from_exemplar)
    exemplar = picture(0)
    propagator.begin([exemplar, picture(5, index=1)])  # a pin within the shot starts nothing
    first = propagator.step(picture(1).luma, index=0).chroma
    propagator.step(picture(2).luma, index=1)
    lab = torch.cat((exemplar.luma - 50, exemplar.chroma), 1)
    carried = torch.cat((picture(1).luma - 50, first), 1)
    assert torch.equal(spy.channels[0][:, 4:], lab if from_exemplar else torch.zeros_like(lab))
    assert torch.equal(spy.channels[1][:, 4:], carried if propagate else torch.zeros_like(lab))


@pytest.mark.parametrize("cut", [False, True])
def test_a_state_saved_before_the_first_frame_still_begins_on_the_exemplar(cut: bool) -> None:
    spies = Spy(), Spy()
    unbroken, restored = (shot(spy, first_frame_is_exemplar=True) for spy in spies)
    unbroken.begin([picture(0, index=7 if cut else None)])
    if cut:
        unbroken.step(picture(1).luma, index=6)
        unbroken.reset()
    restored.load_state(unbroken.save_state())
    for index in (7, 8):
        for propagator in (unbroken, restored):
            propagator.step(picture(index).luma, index=index)
    for ours, theirs in zip(spies[0].channels[-2:], spies[1].channels, strict=True):
        assert torch.equal(ours, theirs)
    assert spies[1].channels[0][:, 5:].any()


def test_a_saved_state_is_a_copy() -> None:
    propagator = shot(Spy())
    propagator.begin([picture(0)])
    propagator.step(picture(1).luma, index=0)
    state = propagator.save_state()
    again = shot(Spy())
    again.load_state(state)
    places = {tensor.data_ptr() for tensor in state.tensors.values()}
    for held in (propagator, again):
        tensors = (*vars(held._exemplars[0]).values(), held._previous)
        assert not places & {t.data_ptr() for t in tensors if isinstance(t, Tensor)}
    expected = propagator.step(picture(2).luma, index=1).chroma
    for _ in range(2):
        again.load_state(state)
        assert torch.equal(again.step(picture(2).luma, index=1).chroma, expected)


def test_frames_may_come_last_to_first() -> None:
    forward, backward = shot(Spy()), shot(Spy(), first_frame_is_exemplar=True)
    forward.begin([picture(0)])
    backward.begin([picture(0, index=12)])
    last = backward.step(picture(3).luma, index=12).chroma
    assert not torch.equal(last, forward.step(picture(3).luma, index=0).chroma)
    backward.reset()
    for step, seed in enumerate((4, 5, 6)):  # the pin is far, or the only exemplar: no matter
        ours = backward.step(picture(seed).luma, index=11 - step).chroma
        if step == 0:
            forward.reset()
        assert torch.equal(ours, forward.step(picture(seed).luma, index=step).chroma)


def test_a_pin_counts_alike_before_and_after_its_frame() -> None:
    propagator = shot(Spy(), pin_reach=10, pin_preference=1.0, propagate=False)
    propagator.begin([picture(0), picture(1, index=100)])
    held = propagator._exemplars[1]
    bonuses = [propagator._pin_bonus(held, index) for index in (89, 95, 100, 105, 111)]
    assert bonuses == [0.0, 0.5, 1.0, 0.5, 0.0]
    before, after = (propagator.step(picture(2).luma, index=i).chroma for i in (94, 106))
    assert torch.equal(before, after)


def test_of_exemplars_that_match_equally_well_the_first_is_taken() -> None:
    one, both = shot(Spy()), shot(Spy())
    recolored = Exemplar(picture(0).luma, picture(5).chroma)
    one.begin([picture(0)])
    both.begin([picture(0), recolored])
    luma = picture(1).luma
    assert torch.equal(one.step(luma, index=0).chroma, both.step(luma, index=0).chroma)


def test_no_graph_is_kept_even_where_parameters_want_gradients(grad_on: None) -> None:
    propagator = DeepExemplarPropagator(
        stages(recipe.networks()), DeepExemplarSettings(use_half_resolution=False)
    )
    propagator.begin([recipe.exemplar(recipe.rgb_frame(0, H, W, seed=3, colored=True))])
    chroma = propagator.step(recipe.luma(0, H, W, seed=1), index=0).chroma
    held = propagator.save_state().tensors
    assert not chroma.requires_grad
    assert chroma.grad_fn is None
    assert all(tensor.grad_fn is None for tensor in held.values())
    assert propagator.nbytes == sum(tensor.nbytes for tensor in held.values())


def test_the_smoother_is_the_described_one_solved_densely() -> None:
    height, width = 7, 9
    generator = np.random.default_rng(5)
    luma = generator.uniform(20, 45, (height, width))
    luma[:, 4:] += 40  # an edge; the rest is texture of a few gray levels
    chroma = generator.normal(0, 40, (2, height, width))
    got = smoothed(
        torch.from_numpy(chroma)[None].float(), torch.from_numpy(luma)[None, None].float()
    )
    guide = (luma.astype(np.float32) * 2.55).astype(np.uint8).astype(np.float64)
    expected = np.stack([_smoothed(plane, guide) for plane in chroma])
    assert np.abs(got[0].numpy() - expected).max() < 1e-3


def _smoothed(plane: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """Lambda 500, sigma 4, three passes, lambda times 0.25: rows, then columns, one by one."""
    plane, strength = plane.copy(), 500.0
    for _ in range(3):
        for row in range(plane.shape[0]):
            plane[row] = _solved(plane[row], guide[row], strength)
        for column in range(plane.shape[1]):
            plane[:, column] = _solved(plane[:, column], guide[:, column], strength)
        strength *= 0.25
    return plane


def _solved(line: np.ndarray, guide: np.ndarray, strength: float) -> np.ndarray:
    matrix = np.eye(len(line))
    for i in range(len(line) - 1):
        weight = strength * np.exp(-abs(guide[i] - guide[i + 1]) / 4.0)
        matrix[i, i] += weight
        matrix[i + 1, i + 1] += weight
        matrix[i, i + 1] -= weight
        matrix[i + 1, i] -= weight
    return np.asarray(solve(matrix, line))
