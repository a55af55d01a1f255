"""ColorMNet's 3x3 convolutions with fewer products give what the plain ones give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models import winograd
from models.winograd import Convolution3, minimal_conv3, transformed


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (3, 9), (8, 12), (21, 30)])
@pytest.mark.parametrize("workspace", [1, 2**20])
def test_it_equals_the_plain_convolution_for_any_size_strip_by_strip(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], workspace: int, rectify: bool
) -> None:
    monkeypatch.setattr(winograd, "WORKSPACE_BYTES", workspace)
    x, weight, bias = noise(2, 24, *size), noise(40, 24, 3, 3), noise(40)
    got = minimal_conv3(x, transformed(weight), bias, rectify=rectify)
    seen = x.double().relu() if rectify else x.double()
    expected = F.conv2d(seen, weight.double(), bias.double(), padding=1)
    assert got.shape == expected.shape
    assert float((got - expected).norm()) <= 3e-6 * float(expected.norm())


def test_it_serves_large_maps_in_float32_and_leaves_the_rest_to_pytorch() -> None:
    conv = Convolution3(64, 64).requires_grad_(False)
    large, small = noise(1, 64, 64, 64), noise(1, 64, 8, 8)
    assert set(conv.state_dict()) == {"weight", "bias"}
    plain = F.conv2d(small, conv.weight, conv.bias, padding=1)
    assert torch.equal(conv(small), plain)
    expected = F.conv2d(large, conv.weight, conv.bias, padding=1)
    assert not torch.equal(conv(large), expected)
    torch.testing.assert_close(conv(large), expected, rtol=0.0, atol=1e-5)
    half = conv.to(torch.bfloat16)
    assert half(large.bfloat16()).dtype == torch.bfloat16


def test_new_weights_are_seen() -> None:
    conv, x = Convolution3(64, 64).requires_grad_(False), noise(1, 64, 64, 64)
    conv(x)
    conv.load_state_dict({"weight": noise(64, 64, 3, 3), "bias": noise(64)})
    expected = F.conv2d(x, conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-3)
