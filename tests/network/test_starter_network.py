"""The starter's parts: matching, folding, sizes; on small random networks."""

from __future__ import annotations

import pytest
import torch

from models.starter.blocks import ConvNorm, fold_norms
from models.starter.matching import (
    Memory,
    _peak,
    group_quarters,
    place_exemplar,
    place_query,
    read_fine,
    read_global,
    unfold_windows,
    ungroup_quarters,
)
from models.starter.network import Starter, convex_upsample, luma_stem
from models.starter.propagator import sharpen
from models.starter.sizing import Sizing


def test_folding_the_norms_changes_nothing_in_inference() -> None:
    torch.manual_seed(0)
    block = ConvNorm(3, 5)
    with torch.no_grad():
        block(torch.randn(4, 3, 8, 8) * 3 + 1)  # moves the running statistics
        block.eval()
        x = torch.randn(1, 3, 8, 8)
        expected = block(x)
        fold_norms(block)
        assert torch.allclose(block(x), expected, atol=1e-5)


def test_the_global_read_is_softmax_attention() -> None:
    torch.manual_seed(1)
    query, keys = (torch.nn.functional.normalize(torch.randn(1, n, 8), dim=-1) for n in (7, 11))
    values = torch.randn(1, 11, 5)
    memory = Memory(keys, values, torch.zeros(1, 11, 36, 20))
    found = read_global(query, memory, 9.0)
    scores = query @ keys.transpose(1, 2)
    assert torch.allclose(found.values, (scores * 9).softmax(-1) @ values, atol=1e-5)
    assert torch.equal(found.best, scores.argmax(-1))
    assert torch.allclose(found.similarity[..., 0], scores.amax(-1))


@pytest.mark.parametrize("count", [128, 130, 191, 640])
def test_the_blockwise_peak_is_the_peak(count: int) -> None:
    torch.manual_seed(count)
    cosine = torch.randn(2, 9, count)
    with torch.no_grad():
        peak, index = _peak(cosine)
    expected, where = cosine.max(-1, keepdim=True)
    assert torch.equal(peak, expected)
    assert torch.equal(index, where[..., 0])


def test_a_window_holds_the_quarter_tokens_around_its_token() -> None:
    picture = torch.arange(8.0 * 12).view(1, 1, 8, 12)
    windows = unfold_windows(picture)  # tokens: 4 x 6
    token = windows[0, 1 * 6 + 2, :, 0].view(6, 6)  # row 1, column 2: quarters 2-3, 4-5
    assert torch.equal(token, picture[0, 0, 0:6, 2:8])


def test_quarters_come_back_where_they_were() -> None:
    picture = torch.randn(2, 3, 8, 12)
    assert torch.equal(ungroup_quarters(group_quarters(picture), 4, 6), picture)


def test_the_fine_read_finds_the_equal_key_in_the_window() -> None:
    torch.manual_seed(4)
    keys = torch.nn.functional.normalize(torch.randn(1, 16, 8, 8), dim=1)
    colors = torch.randn(1, 2, 8, 8)
    windows = unfold_windows(torch.cat((keys, colors, colors**2), 1))
    memory = Memory(torch.zeros(1, 16, 4), torch.zeros(1, 16, 1), windows)
    fine = read_fine(group_quarters(keys), torch.arange(16)[None], memory, 400.0)
    assert torch.allclose(ungroup_quarters(fine, 4, 4)[:, :2], colors, atol=1e-2)


def test_upsampling_stays_between_its_neighbors() -> None:
    torch.manual_seed(5)
    quarter = torch.rand(1, 2, 3, 4)
    up = convex_upsample(quarter, torch.randn(1, 144, 3, 4) * 5)
    assert up.shape == (1, 2, 12, 16)
    assert up.min() >= quarter.min()
    assert up.max() <= quarter.max()


def test_local_contrast_does_not_see_an_offset_of_luma() -> None:
    torch.manual_seed(6)
    luma = torch.rand(1, 1, 32, 32) * 50
    first, second = luma_stem(luma), luma_stem(luma + 20)
    assert torch.allclose(first[:, 16:], second[:, 16:], atol=1e-4)


def test_two_exemplars_are_read_as_one_memory() -> None:
    torch.manual_seed(7)
    network = Starter().eval()
    luma, chroma = torch.rand(2, 1, 64, 64) * 100, torch.rand(2, 2, 64, 64)
    with torch.no_grad():
        memories = [
            network.memorize(network.encode(luma[i : i + 1]), luma[i : i + 1], chroma[i : i + 1])
            for i in range(2)
        ]
        both = Memory(
            *(
                torch.cat(pair, 1)
                for pair in zip(*(vars(m).values() for m in memories), strict=True)
            )
        )
        query = network.encode(luma[:1])
        found = network.read(luma[:1], query, both)
    assert found.chroma.shape == (1, 2, 64, 64)
    assert found.similarity.amin() > 0.99  # the query is one of the exemplars


@pytest.mark.parametrize(("height", "width"), [(480, 854), (720, 1280), (1080, 1920), (1080, 400)])
def test_the_inner_size_keeps_the_aspect_and_the_token_cap(height: int, width: int) -> None:
    sizing = Sizing.fit(height, width, max_tokens=6480, stride=32)
    inner = sizing.inner
    assert inner[0] * inner[1] / 64 <= 6480 * 1.01
    assert inner[0] / inner[1] == pytest.approx(height / width, rel=0.01)
    padded = sizing.pad(sizing.down(torch.zeros(1, 1, height, width)))
    assert padded.shape[-2] % 32 == padded.shape[-1] % 32 == 0
    assert sizing.crop(padded).shape[-2:] == inner


def test_enlarged_chroma_changes_where_luma_does() -> None:
    luma = torch.zeros(1, 1, 64, 64)
    luma[..., 29:] = 80.0  # an edge off the grid of the small picture
    chroma = luma / 4
    sizing = Sizing.fit(64, 64, max_tokens=64, stride=32)
    assert sizing.shrinks is False
    sizing = Sizing(64, 64, (16, 16), sizing.padding)
    small = sizing.down(torch.cat((luma, chroma, -chroma), 1))
    up = sizing.up(small[:, 1:], small[:, :1], luma)
    plain = torch.nn.functional.interpolate(small[:, 1:2], (64, 64), mode="bilinear")
    assert (up[:, :1] - chroma).abs().mean() < 0.5 * (plain - chroma).abs().mean()


def test_the_temperature_grows_with_the_tokens() -> None:
    grown = [sharpen(n) for n in (256, 1000, 6480, 12960)]
    assert grown == sorted(grown)
    assert grown[0] == 1.0


def test_placed_keys_prefer_what_is_near() -> None:
    torch.manual_seed(8)
    keys = torch.nn.functional.normalize(torch.randn(1, 4 * 6, 8), dim=-1)
    placed = place_query(keys, 4, 6) @ place_exemplar(keys, 4, 6, 0.3).transpose(1, 2)
    y, x = (torch.arange(24) // 6) / 6, (torch.arange(24) % 6) / 6
    apart = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    penalty = keys @ keys.transpose(1, 2) - placed
    assert torch.allclose(
        penalty - penalty.diagonal(dim1=1, dim2=2)[..., None], 0.3 * apart[None], atol=1e-5
    )
