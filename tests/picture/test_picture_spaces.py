"""Color spaces: published weights, round trips, names that help, defaults that files declare."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bridge_server.media.frame import ColorTags, PlateInfo, RgbCoding, YcbcrCoding
from bridge_server.picture.spaces import (
    BUILTIN_CONFIG,
    DISPLAY,
    LINEAR,
    default_space,
    find_space,
    luma_of,
    open_spaces,
)
from host_plugins.wire.errors import BridgeError

INFO = PlateInfo("plate.exr", "image", 4, 4, [0], RgbCoding(16, floating=True))


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("sRGB", (0.2126, 0.7152, 0.0722)),
        ("sRGB - Texture", (0.2126, 0.7152, 0.0722)),
        ("ACEScct", (0.2722287168, 0.6740817658, 0.0536895174)),
        ("ACEScg", (0.2722287168, 0.6740817658, 0.0536895174)),
        ("ACES2065-1", (0.3439664498, 0.7281660966, -0.0721325464)),
        ("Linear Rec.2020", (0.2627, 0.6780, 0.0593)),
        ("Linear P3-D65", (0.2289745641, 0.6917385218, 0.0792869141)),
    ],
)
def test_luma_weights_are_the_published_ones(name, weights):
    assert find_space(name).weights == pytest.approx(weights, abs=1e-6)


def test_every_camera_log_has_weights_that_sum_to_one():
    for name in ("ARRI LogC4", "S-Log3 S-Gamut3.Cine", "Log3G10 REDWideGamutRGB", "V-Log V-Gamut"):
        space = find_space(name)
        assert sum(space.weights) == pytest.approx(1.0, abs=1e-6)
        assert space.scene
        assert 0 < space.black < space.white < 1


@pytest.mark.parametrize("name", ["ACEScct", "ACEScg", "ARRI LogC4", "sRGB - Display", "display"])
def test_codes_come_back_from_linear(name):
    space = find_space(name)
    codes = np.random.default_rng(1).uniform(0.2, 0.9, (50, 3)).astype(np.float32)
    np.testing.assert_allclose(space.from_linear(space.to_linear(codes)), codes, atol=2e-4)


def test_middle_gray_of_any_scene_space_looks_the_same_to_the_network():
    for name in ("ACEScct", "ACEScg", "lin_rec709", "ARRI LogC4"):
        space = find_space(name)
        code = space.from_linear(np.full((1, 3), 0.18, np.float32))[:, 1:2]
        spaces = open_spaces(INFO, input=name)
        assert spaces.gray_view(code)[0, 0] == pytest.approx(0.4613, abs=2e-3)


def test_a_wrong_name_lists_the_nearest_ones():
    with pytest.raises(BridgeError, match="ACEScc") as wrong:
        find_space("ACESct")
    assert wrong.value.code == "bad_param"
    with pytest.raises(BridgeError) as view:
        open_spaces(INFO, view="Nice")
    assert "Un-tone-mapped" in view.value.hint
    with pytest.raises(BridgeError, match="config"):
        open_spaces(INFO, input="ACEScg", config="absent-config")


def test_a_users_config_is_read_from_a_file_or_the_environment(tmp_path, monkeypatch):
    import PyOpenColorIO as ocio

    text = ocio.Config.CreateFromBuiltinConfig(BUILTIN_CONFIG).serialize()
    path = tmp_path / "house.ocio"
    path.write_text(text.replace("name: ACEScct\n", "name: House Log\n"))
    assert open_spaces(INFO, input="House Log", config=str(path)).input.name == "House Log"
    monkeypatch.setenv("OCIO", str(path))
    assert open_spaces(INFO, input="House Log").input.weights == find_space("ACEScct").weights


def test_defaults_follow_what_files_declare():
    assert default_space(INFO) == LINEAR
    integers = replace(INFO, coding=RgbCoding(16))
    assert default_space(integers) == DISPLAY
    assert default_space(replace(integers, space="srgb_rec709_scene")) == DISPLAY
    assert default_space(replace(INFO, space="lin_rec709_scene")) == LINEAR
    assert default_space(replace(INFO, space="ACEScct")) == "ACEScct"
    movie = replace(INFO, kind="movie", coding=YcbcrCoding(10))
    assert default_space(movie) == DISPLAY
    for transfer, name in ((16, "PQ"), (18, "HLG")):
        spaces = open_spaces(replace(movie, tags=ColorTags(9, transfer, 9, 1)))
        assert name in spaces.input.name
        assert not spaces.input.scene


def test_the_luma_of_a_neutral_pixel_is_its_own_code_exactly():
    codes = np.repeat(np.float32([0.1, 1 / 3, 16.0, -0.7, 65504.0]), 3).reshape(5, 3)
    for name in ("display", "ACEScg", "ARRI LogC4"):
        np.testing.assert_array_equal(luma_of(codes, find_space(name).weights), codes[:, 0])
