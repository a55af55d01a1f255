"""Chroma follows the edges of luma; sizes keep their aspect; exemplars are fitted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_server.media.frame import YcbcrCoding
from bridge_server.picture import (
    fit_exemplar,
    load_exemplar,
    upscale_chroma,
    working_luma,
    working_size,
)
from bridge_server.picture.subsample import subsample
from host_plugins.wire.errors import BridgeError
from models.color import linear_to_srgb
from models.geometry import fit, resize


def scene(height=96, width=128):
    """A disk of another gray and color on a ground, with texture in the gray."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    inside = ((rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (height / 3) ** 2).float()
    texture = 0.02 * torch.sin(rows * 0.9) * torch.sin(columns * 0.7)
    gray = (0.3 + 0.4 * inside + texture)[None, None]
    chroma = torch.stack((inside * 50 - 20, 15 - inside * 40))[None]
    return gray, chroma


def error(found, wanted):
    return float((found - wanted).pow(2).mean().sqrt())


def test_guided_chroma_is_nearer_the_truth_than_bilinear_along_an_edge():
    gray, chroma = scene()
    small = resize(chroma, 24, 32)
    guided = upscale_chroma(small, gray)
    bilinear = F.interpolate(small, (96, 128), mode="bilinear")
    assert error(guided, chroma) < 0.55 * error(bilinear, chroma)


def test_strength_is_a_dial_from_no_guidance_to_full():
    gray, chroma = scene()
    small = resize(chroma, 24, 32)
    errors = [error(upscale_chroma(small, gray, s), chroma) for s in (0.0, 0.5, 1.0)]
    assert errors[0] > errors[1] > errors[2]


def test_texture_that_says_nothing_about_color_adds_no_color():
    generator = torch.Generator().manual_seed(1)
    gray = 0.5 + 0.1 * torch.randn(1, 1, 64, 64, generator=generator)
    flat = torch.full((1, 2, 16, 16), 12.0)
    assert upscale_chroma(flat, gray).sub(12.0).abs().max() < 1e-4


def test_over_range_luma_does_not_throw_chroma_out_of_range():
    gray, chroma = scene()
    gray[..., 40:50, 60:70] = 30.0
    small = resize(chroma, 24, 32)
    assert upscale_chroma(small, gray).abs().max() < 80


def test_chroma_already_at_full_size_is_left_alone():
    gray, chroma = scene()
    assert upscale_chroma(chroma, gray) is chroma


@pytest.mark.parametrize("size", [(1, 1), (17, 31), (9, 16), (400, 300)])
def test_any_size_comes_back_at_full_size(size):
    gray = torch.rand(1, 1, *size)
    height, width = working_size(*size, 64)
    luma, gray_small = working_luma(gray, height, width)
    assert luma.shape == (1, 1, height, width)
    chroma = torch.zeros(1, 2, height, width)
    assert upscale_chroma(chroma, gray, gray_small=gray_small).shape == (1, 2, *size)


@given(st.integers(1, 8192), st.integers(1, 8192), st.integers(16, 2048))
@settings(max_examples=200)
def test_the_working_size_keeps_the_aspect_and_never_enlarges(height, width, long_side):
    small = working_size(height, width, long_side)
    assert 1 <= small[0] <= height
    assert 1 <= small[1] <= width
    assert max(small) <= max(long_side, 1)
    scale = max(small) / max(height, width)
    assert abs(small[0] - height * scale) <= 0.51 or small[0] == 1
    assert abs(small[1] - width * scale) <= 0.51 or small[1] == 1


def test_sizes_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        working_size(0, 10, 5)


def test_an_exemplar_of_another_aspect_is_scaled_as_a_whole_with_a_mirrored_border():
    square = torch.zeros(1, 1, 40, 40)
    square[..., 10:30, 10:30] = 1.0
    fitted, valid = fit(square, 40, 80)
    assert valid[0, 0, 20].tolist() == [0.0] * 20 + [1.0] * 40 + [0.0] * 20
    torch.testing.assert_close(fitted[..., 20:60], square)
    torch.testing.assert_close(fitted[..., :20], square[..., :20].flip(-1))
    torch.testing.assert_close(fitted[..., 60:], square[..., 20:].flip(-1))


def test_a_border_wider_than_the_picture_is_mirrored_again():
    row = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 4, 4)
    fitted, valid = fit(row.contiguous(), 4, 20)
    assert fitted[0, 0, 0].tolist() == [0, 1, 2, 3, 3, 2, 1, 0, 0, 1, 2, 3, 3, 2, 1, 0, 0, 1, 2, 3]
    assert valid.sum() == 16


def test_rounding_of_the_aspect_makes_no_border():
    _, valid = fit(torch.rand(1, 3, 1080, 1920), 288, 513)
    assert bool((valid == 1).all())


def test_a_fitted_exemplar_has_lab_planes_and_its_matte_is_invalid():
    rgb = torch.zeros(30, 30, 3)
    rgb[..., 0] = 1.0
    matte = torch.ones(30, 30)
    matte[:15] = 0.0
    luma, chroma, valid = fit_exemplar(rgb, 30, 60, matte=matte)
    assert luma[0, 0, 20, 30] == pytest.approx(53.24, abs=0.05)
    assert chroma[0, :, 20, 30].tolist() == pytest.approx([80.09, 67.20], abs=0.1)
    assert valid.sum() == 30 * 15


def test_the_same_picture_in_another_file_has_the_same_digest(tmp_path, make_image):
    pixels = np.random.default_rng(1).integers(0, 65536, (8, 9, 3), np.uint16)
    make_image(tmp_path / "a.png", pixels)
    make_image(tmp_path / "b.tif", pixels, Software="other")
    make_image(tmp_path / "c.png", pixels // 2)
    digests = [load_exemplar(tmp_path / name).digest for name in ("a.png", "b.tif", "c.png")]
    assert digests[0] == digests[1] != digests[2]


def test_exemplars_of_every_kind_are_seen_in_display_encoding(tmp_path, make_image):
    display = np.random.default_rng(1).integers(20, 230, (8, 9, 3)).astype(np.float32) / 255
    make_image(tmp_path / "a.png", np.rint(display * 255).astype(np.uint8))
    make_image(tmp_path / "a.jpg", np.full((8, 9, 3), 100, np.uint8))
    linear = np.where(display > 0.04045, ((display + 0.055) / 1.055) ** 2.4, display / 12.92)
    make_image(tmp_path / "a.exr", linear.astype(np.float32))
    make_image(tmp_path / "a.dpx", np.rint(display * 1023).astype(np.uint16) << 6,
               oiio__BitsPerSample=10)  # fmt: skip
    np.testing.assert_allclose(load_exemplar(tmp_path / "a.png").rgb, display, atol=1e-6)
    np.testing.assert_allclose(load_exemplar(tmp_path / "a.exr").rgb, display, atol=1e-5)
    np.testing.assert_allclose(load_exemplar(tmp_path / "a.dpx").rgb, display, atol=6e-4)
    assert load_exemplar(tmp_path / "a.jpg").rgb[0, 0, 0] == pytest.approx(100 / 255, abs=0.01)
    as_log = load_exemplar(tmp_path / "a.exr", space="ACEScct")
    assert as_log.space == "ACEScct"
    assert np.abs(as_log.rgb - display).max() > 0.05


def test_gray_and_absent_exemplars_are_refused(tmp_path, make_image):
    make_image(tmp_path / "gray.png", np.zeros((4, 4, 1), np.uint8), names=("Y",))
    with pytest.raises(BridgeError) as gray:
        load_exemplar(tmp_path / "gray.png")
    assert gray.value.code == "bad_exemplar"
    with pytest.raises(BridgeError) as absent:
        load_exemplar(tmp_path / "absent.png")
    assert absent.value.code == "clip_unreadable"


@pytest.mark.parametrize(
    ("siting", "expected"), [("left", [0.25, 2.0, 4.0]), ("center", [0.5, 2.5, 4.0])]
)
def test_chroma_is_averaged_onto_where_it_sits(siting, expected):
    row = torch.arange(5.0).view(1, 5)
    found = subsample(row, YcbcrCoding(8, shift_x=1, siting=siting))
    assert found[0, :2].tolist() == expected[:2]
    assert found.shape == (1, 3)


def test_linear_grays_survive_the_working_luma():
    gray = linear_to_srgb(torch.full((1, 1, 8, 8), 0.18))
    luma, _ = working_luma(gray, 4, 4)
    assert luma.mean() == pytest.approx(49.5, abs=0.05)
