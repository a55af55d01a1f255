"""From file to file: only color changed, and compare sees it when more did."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import OpenImageIO as oiio
import pytest
import torch

from bridge_server.media import Deliver, open_output, open_plate
from bridge_server.media.overlap import WriteBehind, prefetch
from bridge_server.picture import JoinSettings, join, luma_for_network, open_spaces
from bridge_server.picture.compare import compare, describe
from bridge_server.picture.upscale import upscale_chroma


def colorize(plate_path, out_path, deliver=None, frames=None, **options):
    """The whole pipeline with invented chroma in the place of a network's."""
    plate = open_plate(plate_path, frames)
    spaces = open_spaces(plate.info, **{k: options.pop(k) for k in ("input",) if k in options})
    settings = JoinSettings(spaces, **options)
    output = WriteBehind(open_output(out_path, plate.info, deliver))
    generator = torch.Generator().manual_seed(3)
    for frame in prefetch(plate):
        gray = torch.from_numpy(luma_for_network(frame, spaces))[None, None]
        chroma = (torch.rand(1, 2, 9, 16, generator=generator) - 0.5) * 60
        full = upscale_chroma(chroma, gray)[0].half()
        output.write(join(frame, full, settings, output.target))
    return output.finish()


def stills(tmp_path, make_image, suffix, dtype, top, **header):
    for frame in (1001, 1002):
        ramp = np.linspace(0, top, 37 * 61).reshape(37, 61, 1) + (0.25 if top > 1.5 else 0)
        pixels = np.repeat(ramp, 3, 2).astype(dtype)
        make_image(tmp_path / f"p.{frame}{suffix}", pixels, **header)
    return tmp_path / f"p.####{suffix}"


@pytest.mark.parametrize(
    ("suffix", "dtype", "top", "space"),
    [
        (".exr", np.float32, 16.0, "ACEScg"), (".exr", np.float16, 1.0, "ACEScct"),
        (".exr", np.float32, 1.2, "ACEScct"), (".exr", np.float32, 8.0, ""),
        (".tif", np.uint16, 65535, ""), (".png", np.uint8, 255, ""), (".tif", np.float32, 1.0, ""),
    ],
)  # fmt: skip
def test_image_files_of_every_depth_come_back_with_their_luma(
    tmp_path, make_image, suffix, dtype, top, space
):
    plate = stills(tmp_path, make_image, suffix, dtype, top, timecode=0x01000000)
    out = tmp_path / "out" / f"o.####{suffix}"
    assert len(colorize(plate, out, input=space)) == 2
    found = compare(plate, out, space=space, picture=tmp_path / "proof.png")
    assert found.only_color_changed, found.findings
    assert found.max_deviation <= found.tolerance
    assert found.plate.frames == found.result.frames == 2
    if suffix == ".exr":
        assert found.result.timecode == "01:00:00:00"
    assert np.ptp(open_plate(out).read(1002).picture.pixels.astype(float), axis=2).max() > 0.01
    assert open_plate(tmp_path / "proof.png").info.height == 37


def test_half_colors_beside_a_float_depth_keep_their_types_and_values(tmp_path, make_image):
    gray = np.repeat(np.linspace(0, 4, 37 * 61).reshape(37, 61, 1), 3, 2)
    depth = np.linspace(1e3, 1e6, 37 * 61).reshape(37, 61, 1)
    pixels = np.concatenate((gray.astype(np.float16), depth), 2).astype(np.float32)
    names, formats = ("R", "G", "B", "Z"), ("half", "half", "half", "float")
    make_image(tmp_path / "p.0001.exr", pixels, names=names, formats=formats)
    colorize(tmp_path / "p.0001.exr", tmp_path / "o.0001.exr")
    found = compare(tmp_path / "p.0001.exr", tmp_path / "o.0001.exr")
    assert found.only_color_changed, found.findings
    made = open_plate(tmp_path / "o.0001.exr").read(1).picture
    np.testing.assert_array_equal(made.pixels[..., 3], pixels[..., 3])
    assert made.coding.half_color
    assert np.ptp(made.pixels[..., :3], axis=2).max() > 0.01


def test_a_10_bit_dpx_ramp_comes_back_within_one_code(tmp_path, make_image):
    codes = np.arange(1024, dtype=np.uint16).reshape(32, 32, 1).repeat(3, 2)
    make_image(tmp_path / "p.0001.dpx", codes << 6 | codes >> 4, oiio__BitsPerSample=10)
    colorize(tmp_path / "p.0001.dpx", tmp_path / "o.0001.dpx")
    found = compare(tmp_path / "p.0001.dpx", tmp_path / "o.0001.dpx")
    assert found.only_color_changed, found.findings
    assert found.max_deviation <= 0.5
    assert found.result.coding.bits == 10


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "yuv444p12le", "gray10le"])
@pytest.mark.parametrize("size", [(64, 48), (45, 80)])
def test_a_lossless_movie_comes_back_with_its_y_plane_bit_for_bit(
    tmp_path, make_movie, pix_fmt, size
):
    planes = make_movie(tmp_path / "p.mkv", "ffv1", pix_fmt, size=size, rate=Fraction(24000, 1001))
    colorize(tmp_path / "p.mkv", tmp_path / "o.mkv")
    made = open_plate(tmp_path / "o.mkv")
    for frame, expected in zip(made, planes, strict=True):
        np.testing.assert_array_equal(frame.picture.y, expected[0])
        assert frame.picture.cb.std() > 3
    found = compare(tmp_path / "p.mkv", tmp_path / "o.mkv")
    assert found.only_color_changed, found.findings
    assert (found.max_deviation, found.mean_deviation) == (0.0, 0.0)


@pytest.mark.parametrize("codec", ["prores_422_hq", "prores_4444", "dnxhr_hqx", "h264", "hevc"])
def test_an_encoder_is_given_the_plates_own_y_plane(tmp_path, make_movie, codec, monkeypatch):
    from bridge_server.media import movie_out

    given = []
    encode = movie_out.av_frame
    monkeypatch.setattr(
        movie_out, "av_frame", lambda picture: (given.append(picture.y.copy()), encode(picture))[1]
    )
    planes = make_movie(tmp_path / "p.mkv", "ffv1", "yuv422p10le", size=(130, 256), count=2)
    out = tmp_path / ("o.mov" if codec[0] in "pd" else "o.mp4")
    colorize(tmp_path / "p.mkv", out, Deliver(codec=codec))
    for plane, expected in zip(given, planes, strict=True):
        np.testing.assert_array_equal(plane, expected[0])


def test_a_movie_may_become_image_files_and_image_files_a_movie(tmp_path, make_movie):
    make_movie(
        tmp_path / "p.mov", "prores_ks", "yuv422p10le", timecode="01:00:00:00", count=3,
        rate=Fraction(24000, 1001),
    )  # fmt: skip
    colorize(tmp_path / "p.mov", tmp_path / "o.####.dpx")
    plate, dpx = open_plate(tmp_path / "p.mov"), open_plate(tmp_path / "o.####.dpx")
    assert dpx.info.rate == plate.info.rate
    colorize(tmp_path / "p.mov", tmp_path / "o.####.exr")
    assert open_plate(tmp_path / "o.####.exr").info.rate == plate.info.rate
    assert [frame.timecode for frame in dpx] == [f"01:00:00:0{i}" for i in range(3)]
    luma = dpx.read(1).picture.pixels.astype(float) @ [0.2126, 0.7152, 0.0722]
    inside = np.clip((plate.read(1).picture.y.astype(float) - 64) / 876 * 1023, 0, 1023)
    assert np.abs(luma - inside).max() <= 0.51
    colorize(tmp_path / "o.####.dpx", tmp_path / "again.mkv", Deliver(codec="ffv1"))
    again = open_plate(tmp_path / "again.mkv")
    assert len(list(again)) == 3
    assert again.info.rate == plate.info.rate


def test_a_chroma_layer_added_to_the_plate_is_the_picture(tmp_path, make_image):
    plate = stills(tmp_path, make_image, ".exr", np.float32, 2.0)
    out = tmp_path / "o.####.exr"
    colorize(plate, out, Deliver(chroma_layer=True), chroma_layer=True)
    made = open_plate(out).read(1001).picture
    assert made.names == ("R", "G", "B", "chroma.R", "chroma.G", "chroma.B")
    before = open_plate(plate).read(1001).picture.pixels
    np.testing.assert_allclose(before + made.pixels[..., 3:], made.pixels[..., :3], atol=1e-6)


def test_compare_sees_softened_luma_lost_frames_and_another_rate(tmp_path, make_movie):
    make_movie(tmp_path / "p.mkv", "ffv1", "yuv420p", count=4)
    plate = open_plate(tmp_path / "p.mkv")
    info = replace(plate.info, rate=Fraction(25))
    output = open_output(tmp_path / "o.mkv", info)
    for frame in list(plate)[:3]:
        soft = frame.picture.y.copy()
        soft[5, 5] += 3
        output.write(replace(frame, picture=replace(frame.picture, y=soft)))
    output.finish()
    found = compare(tmp_path / "p.mkv", tmp_path / "o.mkv", picture=tmp_path / "proof.png")
    assert not found.only_color_changed
    assert found.max_deviation == pytest.approx(3, abs=0.01)
    said = " ".join(found.findings)
    assert "4 frames became 3" in said
    assert "rate was 24, is 25" in said
    assert "luma deviates by up to 3 code" in said
    told = "\n".join(describe(found))
    assert "4 frames, 64x48, 24.000 fps" in told
    assert "at most 3 " in told
    assert "only color changed" not in told
    spec = oiio.ImageInput.open(str(tmp_path / "proof.png")).spec()
    assert (spec.width, spec.height) == (3 * 64, 48)
