"""Only color changes: luma is exact in every coding, and options do what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bridge_server.media.frame import (
    PlateFrame,
    RgbCoding,
    RgbPicture,
    Window,
    YcbcrCoding,
    YcbcrPicture,
)
from bridge_server.picture import JoinSettings, join, luma_for_network
from bridge_server.picture.luma import matrix_weights
from bridge_server.picture.spaces import Spaces, find_space
from models.color import rgb_to_lab

DISPLAY = find_space("display")
PLAIN = Spaces(DISPLAY, DISPLAY)
SETTINGS = JoinSettings(PLAIN)
SIZES = [(1, 1), (17, 31), (30, 40), (64, 36)]


def colors(size, amount=40.0):
    generator = torch.Generator().manual_seed(5)
    return (torch.rand(2, *size, generator=generator) - 0.5) * 2 * amount


def gray_frame(values, bits=32, floating=True, channels=3, extra=()):
    pixels = np.stack([values] * channels + list(extra), axis=2)
    names = ("R", "G", "B", "A", "Z")[: pixels.shape[2]] if channels == 3 else ("Y",)
    color = (0, 1, 2) if channels == 3 else (0, 0, 0)
    return PlateFrame(0, RgbPicture(pixels, names, color, RgbCoding(bits, floating)))


def luma(pixels, weights=(0.2126, 0.7152, 0.0722)):
    return pixels[..., :3].astype(np.float64) @ np.array(weights)


def ycbcr_frame(coding, size):
    y = np.arange(size[0] * size[1]).reshape(size) % (1 << coding.bits)
    if coding.gray:
        return PlateFrame(0, YcbcrPicture(y.astype(coding.dtype), None, None, None, coding))
    flat = np.full(coding.chroma_size(*size), coding.neutral, coding.dtype)
    return PlateFrame(0, YcbcrPicture(y.astype(coding.dtype), flat, flat.copy(), None, coding))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bits", [8, 10, 16])
@pytest.mark.parametrize("shifts", [(0, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("full_range", [False, True])
def test_the_y_plane_is_the_plates_for_every_code(size, bits, shifts, full_range):
    coding = YcbcrCoding(bits, full_range, "bt709", *shifts)
    frame = ycbcr_frame(coding, size)
    joined = join(frame, colors(size), SETTINGS).picture
    np.testing.assert_array_equal(joined.y, frame.picture.y)
    assert joined.cb.shape == coding.chroma_size(*size)


def test_gray_movies_get_full_size_chroma():
    frame = ycbcr_frame(YcbcrCoding(10, gray=True), (17, 31))
    joined = join(frame, colors((17, 31)), SETTINGS).picture
    assert joined.coding == YcbcrCoding(10)
    np.testing.assert_array_equal(joined.y, frame.picture.y)
    assert joined.cb.std() > 1


@pytest.mark.parametrize(("bits", "more"), [(8, 10), (8, 16), (10, 12)])
def test_more_bits_keep_every_legal_luma_code_apart(bits, more):
    frame = ycbcr_frame(YcbcrCoding(bits), (16, 64))
    target = YcbcrCoding(more)
    joined = join(frame, colors((16, 64)), SETTINGS, target).picture
    np.testing.assert_array_equal(joined.y, frame.picture.y.astype(np.uint32) << (more - bits))


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (10, np.uint16), (16, np.uint16)])
@pytest.mark.parametrize("gamut", ["preserve_luma", "none"])
def test_integer_rgb_luma_stays_within_one_rounding_step(bits, dtype, gamut):
    count = min(1 << bits, 1 << 12)
    ramp = np.linspace(0, (1 << bits) - 1, count).round().astype(dtype).reshape(32, -1)
    frame = gray_frame(ramp, bits, floating=False)
    amount = 12.0 if gamut == "none" else 60.0
    middle = slice(8, 24) if gamut == "none" else slice(None)
    joined = join(frame, colors(ramp.shape, amount), replace(SETTINGS, gamut=gamut)).picture
    deviation = np.abs(luma(joined.pixels) - ramp)[middle]
    assert deviation.max() <= 0.5 + 1e-6 * (1 << bits)
    assert np.ptp(joined.pixels[..., :3].astype(int), axis=2).max() > 3


@pytest.mark.parametrize("space", ["display", "ACEScct", "ACEScg", "lin_rec709", "ARRI LogC3"])
def test_float_luma_is_exact_in_every_space_over_range_and_negative_included(space):
    names = {"ARRI LogC3": "ARRI LogC3 (EI800)"}
    found = find_space(names.get(space, space))
    values = (
        np.concatenate([np.linspace(-0.5, 1.2, 400), np.linspace(1.0, 16.0, 140)])
        .astype(np.float32)
        .reshape(20, 27)
    )
    frame = gray_frame(values)
    settings = JoinSettings(Spaces(found, found))
    joined = join(frame, colors(values.shape), settings).picture
    assert joined.coding == RgbCoding(32, floating=True)
    deviation = np.abs(luma(joined.pixels, found.weights) - values)
    assert (deviation / np.maximum(np.abs(values), 1e-2)).max() < 1e-5
    assert np.ptp(joined.pixels, axis=2).max() > 0.01
    below = (values < found.black - 1e-3) & (min(found.weights) > 0)
    assert not np.ptp(joined.pixels, axis=2)[below].any()


def test_scene_referred_highlights_keep_their_color_and_display_white_has_none():
    values = np.full((2, 2), 16.0, np.float32)
    scene = find_space("ACEScg")
    joined = join(gray_frame(values), colors((2, 2)), JoinSettings(Spaces(scene, scene))).picture
    assert np.ptp(joined.pixels, axis=2).max() > 0.1
    joined = join(gray_frame(values), colors((2, 2)), SETTINGS).picture
    np.testing.assert_array_equal(joined.pixels[..., 0], values)


def test_half_float_luma_stays_within_one_half_step():
    values = np.linspace(-1, 16, 600).astype(np.float16).reshape(20, 30)
    frame = gray_frame(values, bits=16)
    joined = join(frame, colors(values.shape), SETTINGS).picture
    assert joined.pixels.dtype == np.float16
    step = np.spacing(np.abs(joined.pixels[..., :3]).max(axis=2)).astype(np.float64)
    assert (np.abs(luma(joined.pixels) - values.astype(np.float64)) <= step).all()


def test_no_color_gives_back_the_plate_bit_for_bit():
    values = np.random.default_rng(2).normal(0.5, 2, (17, 31)).astype(np.float32)
    nothing = torch.zeros(2, 17, 31)
    for name in ("display", "ACEScct", "ACEScg"):
        space = find_space(name)
        joined = join(gray_frame(values), nothing, JoinSettings(Spaces(space, space))).picture
        np.testing.assert_array_equal(joined.pixels, np.stack([values] * 3, 2))
    codes = np.random.default_rng(2).integers(0, 65536, (17, 31), np.uint16)
    joined = join(gray_frame(codes, 16, floating=False), nothing, SETTINGS).picture
    np.testing.assert_array_equal(joined.pixels, np.stack([codes] * 3, 2))


def test_not_a_number_and_infinity_pass_through_without_spreading():
    values = np.full((3, 5), 0.5, np.float32)
    values[1, 1], values[1, 3] = np.nan, np.inf
    joined = join(gray_frame(values), colors((3, 5)), SETTINGS).picture.pixels
    assert np.isnan(joined[1, 1]).all()
    assert np.isposinf(joined[1, 3]).all()
    assert np.isfinite(joined).sum() == (15 - 2) * 3
    values[2] = [1e5, -1e5, 3e38, -3e38, 65504]
    for space in (PLAIN, Spaces(find_space("ACEScg"), find_space("ACEScg"))):
        assert np.abs(luma_for_network(gray_frame(values), space)).max() <= 100


def test_alpha_and_other_channels_pass_through_in_their_places():
    values = np.full((4, 6), 0.4, np.float32)
    alpha, depth = np.linspace(0, 2, 24).reshape(2, 4, 3).reshape(4, 6), np.full((4, 6), 1e6)
    pixels = np.stack([depth, values, values, alpha, values], 2).astype(np.float32)
    picture = RgbPicture(pixels, ("Z", "B", "G", "A", "R"), (4, 2, 1), RgbCoding(32, True))
    joined = join(PlateFrame(0, picture), colors((4, 6)), SETTINGS).picture
    assert joined.names == picture.names
    np.testing.assert_array_equal(joined.pixels[..., [0, 3]], pixels[..., [0, 3]])
    expected = join(gray_frame(values), colors((4, 6)), SETTINGS).picture.pixels
    np.testing.assert_array_equal(joined.pixels[..., [4, 2, 1]], expected)


def test_the_network_color_is_what_a_viewer_measures():
    values = np.full((8, 8), 0.5, np.float32)
    chroma = torch.stack((torch.full((8, 8), 20.0), torch.full((8, 8), -15.0)))
    joined = join(gray_frame(values), chroma, SETTINGS).picture.pixels
    lab = rgb_to_lab(torch.from_numpy(joined).permute(2, 0, 1)[None])[0, :, 0, 0]
    assert lab[1:].tolist() == pytest.approx([20.0, -15.0], abs=1.5)


def test_ycbcr_and_rgb_results_are_the_same_picture():
    size = (12, 16)
    frame = ycbcr_frame(YcbcrCoding(16), size)
    y = np.linspace(16 << 8, 235 << 8, 192).astype(np.uint16).reshape(size)
    frame = replace(frame, picture=replace(frame.picture, y=y))
    planar = join(frame, colors(size), SETTINGS).picture
    rgb = join(frame, colors(size), SETTINGS, RgbCoding(32, floating=True)).picture.pixels
    coding, weights = planar.coding, matrix_weights("bt709")
    luma_value = (planar.y.astype(float) - coding.black) / coding.luma_span
    blue = (planar.cb.astype(float) - coding.neutral) / coding.chroma_span * 2 * (1 - weights[2])
    red = (planar.cr.astype(float) - coding.neutral) / coding.chroma_span * 2 * (1 - weights[0])
    np.testing.assert_allclose(luma_value + blue, rgb[..., 2], atol=2e-4)
    np.testing.assert_allclose(luma_value + red, rgb[..., 0], atol=2e-4)


def test_preserve_luma_stays_inside_the_gamut_and_clip_alone_changes_luma():
    values = np.linspace(0, 1, 300).astype(np.float32).reshape(10, 30)
    strong = colors(values.shape, 110.0)
    made = {
        gamut: join(gray_frame(values), strong, replace(SETTINGS, gamut=gamut)).picture.pixels
        for gamut in ("preserve_luma", "clip", "none")
    }
    assert made["preserve_luma"].min() >= -1e-6
    assert made["preserve_luma"].max() <= 1 + 1e-6
    assert made["clip"].min() >= -1e-6
    assert made["none"].min() < -0.05
    for gamut in ("preserve_luma", "none"):
        np.testing.assert_allclose(luma(made[gamut]), values, atol=2e-6)
    assert np.abs(luma(made["clip"]) - values).max() > 0.01


def test_saturation_scales_color_and_zero_removes_it():
    values = np.full((4, 4), 0.5, np.float32)
    spread = [
        np.ptp(
            join(gray_frame(values), colors((4, 4), 10), replace(SETTINGS, saturation=s))
            .picture.pixels, axis=2,
        ).mean()
        for s in (0.0, 1.0, 2.0)
    ]  # fmt: skip
    assert spread[0] == 0
    assert spread[2] == pytest.approx(2 * spread[1], rel=0.1)


@pytest.mark.parametrize("space", ["display", "ACEScg"])
def test_the_color_alone_added_to_the_plate_is_the_joined_picture(space):
    found = find_space(space)
    values = np.linspace(0, 2, 300).astype(np.float32).reshape(10, 30)
    settings = JoinSettings(Spaces(found, found), chroma_layer=True)
    joined = join(gray_frame(values), colors(values.shape), settings)
    alone = join(gray_frame(values), colors(values.shape), replace(settings, chroma_only=True))
    np.testing.assert_allclose(
        alone.picture.pixels + values[..., None], joined.picture.pixels, atol=1e-6
    )
    np.testing.assert_array_equal(joined.chroma_layer, alone.picture.pixels)


def test_color_alone_in_integers_and_ycbcr_lies_around_middle_gray():
    codes = np.full((4, 4), 9000, np.uint16)
    only = replace(SETTINGS, chroma_only=True)
    alone = join(gray_frame(codes, 16, floating=False), colors((4, 4)), only).picture.pixels
    assert np.abs(luma(alone) - 32767.5).max() < 1
    planar = join(ycbcr_frame(YcbcrCoding(10), (4, 4)), colors((4, 4)), only).picture
    assert (planar.y == 64 + 438).all()


def test_a_tint_is_dropped_or_kept_as_neutralize_says_with_the_same_luma():
    pixels = np.random.default_rng(4).uniform(0.3, 0.6, (6, 8, 3)).astype(np.float32)
    frame = PlateFrame(0, RgbPicture(pixels, ("R", "G", "B"), (0, 1, 2), RgbCoding(32, True)))
    nothing = torch.zeros(2, 6, 8)
    dropped = join(frame, nothing, SETTINGS).picture.pixels
    kept = join(frame, nothing, replace(SETTINGS, neutralize=False)).picture.pixels
    assert np.ptp(dropped, axis=2).max() == 0
    np.testing.assert_allclose(kept, pixels, atol=1e-6)
    for made in (dropped, kept):
        np.testing.assert_allclose(luma(made), luma(pixels), rtol=1e-5)


def test_a_tinted_movie_keeps_its_tint_on_request():
    coding = YcbcrCoding(10, shift_y=1, shift_x=1)
    frame = ycbcr_frame(coding, (16, 16))
    y = np.full((16, 16), 500, np.uint16)
    tint = np.full((8, 8), 540, np.uint16)
    frame = replace(frame, picture=replace(frame.picture, y=y, cb=tint))
    nothing = torch.zeros(2, 16, 16)
    assert (join(frame, nothing, SETTINGS).picture.cb == 512).all()
    kept = join(frame, nothing, replace(SETTINGS, neutralize=False)).picture
    np.testing.assert_array_equal(kept.cb, tint)


def test_another_output_space_converts_the_luma_and_nothing_else():
    log, linear = find_space("ACEScct"), find_space("ACEScg")
    values = np.linspace(0.1, 0.9, 60).astype(np.float32).reshape(6, 10)
    settings = JoinSettings(Spaces(log, linear))
    joined = join(gray_frame(values), colors(values.shape, 20), settings).picture.pixels
    expected = linear.from_linear(log.to_linear(np.stack([values] * 3, 2)))[..., 1]
    np.testing.assert_allclose(luma(joined, linear.weights), expected, rtol=2e-5)


def test_a_data_window_takes_its_part_of_the_canvas():
    values = np.full((4, 6), 0.5, np.float32)
    frame = replace(gray_frame(values), window=Window(2, 3, 10, 12))
    plane = luma_for_network(frame, PLAIN)
    assert plane.shape == (10, 12)
    assert plane[:2].max() == 0
    assert plane[2, 3] == 0.5
    chroma = torch.zeros(2, 10, 12)
    chroma[:, 2, 3] = 30.0
    joined = join(frame, chroma, SETTINGS).picture.pixels
    assert np.ptp(joined[0, 0]) > 0.01
    assert np.ptp(joined.reshape(-1, 3)[1:], axis=1).max() == 0


def test_a_one_channel_picture_becomes_rgb_and_keeps_its_luma():
    values = np.linspace(0, 1, 60).astype(np.float32).reshape(6, 10)
    joined = join(gray_frame(values, channels=1), colors((6, 10)), SETTINGS).picture
    assert joined.names == ("R", "G", "B")
    np.testing.assert_allclose(luma(joined.pixels), values, atol=1e-6)


def test_read_only_half_buffers_of_the_wire_are_taken_as_they_are():
    values = np.linspace(0.2, 0.8, 24).astype(np.float16).reshape(4, 6)
    frame = gray_frame(values, bits=16)
    frame.picture.pixels.flags.writeable = False
    chroma = colors((4, 6)).half().numpy()
    expected = join(frame, chroma, SETTINGS).picture.pixels
    chroma.flags.writeable = False
    np.testing.assert_array_equal(join(frame, chroma, SETTINGS).picture.pixels, expected)


@pytest.mark.parametrize("size", [(1, 1), (200, 400)])
def test_threads_share_the_rows_and_change_nothing(size):
    values = np.random.default_rng(6).random(size, np.float32)
    alone = join(gray_frame(values), colors(size), SETTINGS).picture.pixels
    shared = join(gray_frame(values), colors(size), SETTINGS, threads=3).picture.pixels
    np.testing.assert_array_equal(alone, shared)


def test_chroma_of_another_size_is_refused():
    with pytest.raises(ValueError, match="expected chroma"):
        join(gray_frame(np.zeros((4, 6), np.float32)), torch.zeros(2, 4, 4), SETTINGS)


def test_a_view_changes_what_the_network_sees_and_not_the_luma():
    space = find_space("ACEScg")
    values = np.linspace(0, 4, 60).astype(np.float32).reshape(6, 10)
    seen = Spaces(space, space, view="ACES 1.0 - SDR Video")
    gray = luma_for_network(gray_frame(values), seen)
    assert gray.max() <= 1.0 < luma_for_network(gray_frame(values), Spaces(space, space)).max()
    joined = join(gray_frame(values), colors((6, 10), 20), JoinSettings(seen)).picture.pixels
    np.testing.assert_allclose(luma(joined, space.weights), values, atol=1e-5)
    assert np.ptp(joined, axis=2).max() > 0.02
