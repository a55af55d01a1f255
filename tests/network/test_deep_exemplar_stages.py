"""Deep Exemplar's networks against tensors of the published ones (recipe's weights)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import deep_exemplar_recipe as recipe
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.deep_exemplar import color_network
from models.deep_exemplar.matching import nearest, soft
from models.deep_exemplar.vgg import Features, color_input, gray_input

GOLDEN = Path(__file__).parent / "golden"
RELATIVE = 1e-4  # of the greatest value of a tensor, float32
WORKSPACE = 2**26


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "deep_exemplar_stages.npz") as file:
        return dict(file)


@pytest.fixture(autouse=True)
def _no_autograd() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def labs() -> tuple[Tensor, Tensor]:
    """L - 50 of frame 1 of the clip, and the exemplar's L - 50, a, b."""
    lab = recipe.lab(recipe.rgb_frame(0, 96, 160, seed=3, colored=True))
    lab[:, 0] -= 50
    return recipe.luma(1, 96, 160, seed=1) - 50, lab


@pytest.fixture(scope="module")
def features(labs: tuple[Tensor, Tensor]) -> tuple[Features, Features]:
    vgg = recipe.networks().vgg
    with torch.inference_mode():
        return vgg(gray_input(labs[0])), vgg(color_input(labs[1]))


@pytest.fixture(scope="module")
def vectors(features: tuple[Features, Features]) -> tuple[Tensor, Tensor]:
    warp = recipe.networks().warp
    with torch.inference_mode():
        return warp.of_frame(features[0]), warp.of_exemplar(features[1])


def same(got: Tensor, expected: np.ndarray, relative: float = RELATIVE) -> None:
    assert tuple(got.shape) == expected.shape
    greatest = np.abs(expected).max()
    assert np.abs(got.numpy() - expected).max() <= relative * greatest


def test_state_dicts_equal_the_published_ones_key_for_key() -> None:
    published = json.loads((GOLDEN / "deep_exemplar_keys.json").read_text())
    made = recipe.networks()
    for name, network in (
        ("vgg19_conv", made.vgg),
        ("nonlocal_net", made.warp),
        ("colornet", made.color),
    ):
        own = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
        assert own == published[name]
        assert list(own) == list(published[name])


def test_vgg_features_of_gray_and_color_are_the_published_ones(features, golden) -> None:
    (r22, r32, r42, r52), (*_, exemplar_r52) = features
    same(r22[0, ::64, ::2, ::2], golden["vgg_A_r22__c8_s2__every8"])
    same(r32[0, ::128], golden["vgg_A_r32__c8_s1__every16"])
    same(r42[0, ::128], golden["vgg_A_r42__c8_s1__every16"])
    same(r52[0, ::32], golden["vgg_A_r52__c8_s1__every4"])
    same(exemplar_r52[0, ::32], golden["vgg_B_r52__c8_s1__every4"])


def test_branches_and_trunk_are_the_published_ones(features, golden) -> None:
    warp = recipe.networks().warp
    seen: dict[str, Tensor] = {}
    hooks = [
        branch.register_forward_hook(lambda _m, _x, y, n=name: seen.update({n: y}))
        for name, branch in warp.named_children()
        if name.endswith("_1")
    ]
    trunk = warp.trunk(features[0])
    for hook in hooks:
        hook.remove()
    for name in ("layer2_1", "layer3_1", "layer4_1", "layer5_1"):
        same(seen[name][0, ::64], golden[f"warp_A_{name}__c8__every8"])
    same(trunk[0, ::128], golden["warp_A_trunk__c16__every8"])
    same(warp.trunk(features[1])[0, ::128], golden["warp_B_trunk__c16__every8"])


def test_unit_vectors_and_their_products_are_the_published_ones(vectors, golden) -> None:
    theta, phi = vectors
    same(theta.T[::128], golden["theta_unit__c16__every8"])
    same(phi[::128], golden["phi_unit__c16__every8"])
    same(theta[::320] @ phi, golden["similarity_matrix__row64__every5"])


def test_hard_match_finds_the_published_positions_and_colors(vectors, labs, golden) -> None:
    colors = F.avg_pool2d(labs[1], 4).flatten(2)[0].T.contiguous()
    match = nearest(*vectors, colors, workspace_bytes=WORKSPACE)
    assert np.array_equal(match.index.numpy(), golden["argmax"])
    assert np.array_equal(match.color.T.reshape(3, 24, 40).numpy(), golden["warped_lab__s4"])
    assert (
        np.abs(match.similarity.reshape(1, 24, 40).numpy() - golden["similarity_map__s4"]).max()
        <= 1e-5
    )


def test_soft_match_at_the_training_temperature_is_the_published_one(vectors, labs, golden) -> None:
    colors = F.avg_pool2d(labs[1], 4).flatten(2)[0].T[:, 1:].contiguous()
    match = soft(*vectors, colors, workspace_bytes=WORKSPACE, temperature=0.01)
    same(match.color.T.reshape(2, 24, 40), golden["warped_lab_T1e-2__s4"])


def test_every_normed_stage_of_the_color_network_is_the_published_one(
    labs, golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    norm = color_network.instance_norm
    monkeypatch.setattr(
        color_network, "instance_norm", lambda x: seen.append(norm(x)) or seen[-1].clone()
    )
    upsampled = [
        F.interpolate(torch.from_numpy(golden[name])[None], scale_factor=4)
        for name in ("warped_lab__s4", "similarity_map__s4")
    ]
    channels = torch.cat(
        (labs[0], upsampled[0][:, 1:], upsampled[1], torch.zeros(1, 3, 96, 160)), 1
    )
    recipe.networks().color(channels)
    n1, n2, n3, n4, _n5, _n6, n7, n8, n9 = seen
    same(n1[0, ::128, ::4, ::4], golden["color_conv1_2norm__c16_s4__every8"])
    same(n2[0, ::128, ::2, ::2], golden["color_conv2_2norm__c16_s2__every8"])
    same(n3[0, ::128], golden["color_conv3_3norm__c16_s1__every8"])
    same(n4[0, ::256], golden["color_conv4_3norm__c32_s1__every8"])
    same(n7[0, ::256], golden["color_conv7_3norm__c32_s1__every8"])
    same(n8[0, ::128], golden["color_conv8_3norm__c16_s1__every8"])
    same(n9[0, ::128, ::2, ::2], golden["color_conv9_2norm__c16_s2__every8"])
