"""Image files keep depth, channels, headers, windows and timecode; sequences name their holes."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import OpenImageIO as oiio
import pytest

from bridge_server.media import Deliver, open_output, open_plate
from bridge_server.media.frame import PlateFrame, RgbCoding, RgbPicture
from bridge_server.media.images import ImageSettings, write_image
from bridge_server.media.sequences import find_images, frame_path, parse_frames
from host_plugins.wire.errors import BridgeError


def copy(plate_path, out_path, deliver=None, frames=None):
    plate = open_plate(plate_path, frames)
    output = open_output(out_path, plate.info, deliver)
    for frame in plate:
        output.write(frame)
    return output.finish()


def ramp(dtype, channels=3, size=(17, 31)):
    count = size[0] * size[1] * channels
    if np.dtype(dtype).kind == "f":
        values = np.linspace(-0.5, 16.0, count)
    else:
        values = np.linspace(0, np.iinfo(dtype).max, count)
    return values.astype(dtype).reshape(*size, channels)


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [
        (".exr", np.float16), (".exr", np.float32), (".tif", np.uint8), (".tif", np.uint16),
        (".tif", np.float32), (".png", np.uint8), (".png", np.uint16), (".dpx", np.uint16),
    ],
)  # fmt: skip
@pytest.mark.parametrize("channels", [3, 4])
def test_pixels_alpha_and_type_come_back_bit_for_bit(tmp_path, make_image, suffix, dtype, channels):
    path, out = tmp_path / f"plate.1001{suffix}", tmp_path / f"out.1001{suffix}"
    pixels = make_image(path, ramp(dtype, channels), **({"oiio__UnassociatedAlpha": 1}))
    copy(path, out)
    again = open_plate(out).read(1001).picture
    assert again.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(again.pixels, pixels)


def test_a_10_bit_dpx_holds_10_bit_codes_and_comes_back_exactly(tmp_path, make_image):
    codes = np.arange(1024, dtype=np.uint16).repeat(3).reshape(32, 32, 3)
    path, out = tmp_path / "plate.0001.dpx", tmp_path / "out.0001.dpx"
    wide = (codes << 6) | (codes >> 4)
    make_image(path, wide, oiio__BitsPerSample=10, timecode=0x01020304, dpx__FrameRate=23.976)
    plate = open_plate(path)
    assert plate.info.bits == 10
    assert plate.info.rate == Fraction(24000, 1001)
    np.testing.assert_array_equal(plate.read(1).picture.pixels, codes)
    copy(path, out)
    again = open_plate(out)
    assert again.info.timecode == "01:02:03:04"
    assert again.info.bits == 10
    np.testing.assert_array_equal(again.read(1).picture.pixels, codes)


def test_exr_keeps_tiles_compression_channels_types_and_metadata(tmp_path, make_image):
    path, out = tmp_path / "plate.1001.exr", tmp_path / "out.1001.exr"
    pixels = ramp(np.float32, 5).astype(np.float16).astype(np.float32)
    pixels[..., 4] = np.linspace(0, 1, 17 * 31).reshape(17, 31)
    make_image(
        path, pixels, names=("R", "G", "B", "A", "Z"), tile=16, compression="piz",
        formats=("half", "half", "half", "half", "float"),
        timecode=0x10203000, studio__shot="ab_010", PixelAspectRatio=2.0,
    )  # fmt: skip
    plate = open_plate(path)
    assert plate.info.pixel_aspect == 2
    assert plate.info.timecode == "10:20:30:00"
    copy(path, out)
    again = oiio.ImageInput.open(str(out))
    spec = again.spec()
    assert (spec.tile_width, spec.getattribute("compression")) == (16, "piz")
    assert spec.channelnames == ("R", "G", "B", "A", "Z")
    assert [str(kind) for kind in spec.channelformats] == ["half"] * 4 + ["float"]
    assert spec.getattribute("studio:shot") == "ab_010"
    assert spec.getattribute("smpte:TimeCode", oiio.TypeDesc("timecode"))[0] == 0x10203000
    again.close()
    np.testing.assert_array_equal(open_plate(out).read(1001).picture.pixels, pixels)


def test_the_parts_of_a_multi_part_exr_pass_through(tmp_path, make_image):
    path, out = tmp_path / "plate.1001.exr", tmp_path / "out.1001.exr"
    other = ramp(np.float32, 2, (17, 31))
    make_image(path, ramp(np.float16), parts=(other,))
    copy(path, out)
    part = open_plate(out).read(1001).parts[0]
    assert part[0].getattribute("oiio:subimagename") == "part1"
    np.testing.assert_array_equal(part[1], other)


def test_a_data_window_smaller_than_the_picture_is_kept(tmp_path, make_image):
    path, out = tmp_path / "plate.1001.exr", tmp_path / "out.1001.exr"
    pixels = make_image(path, ramp(np.float16), box=(5, 7, 64, 48))
    plate = open_plate(path)
    assert (plate.info.height, plate.info.width) == (48, 64)
    window = plate.read(1001).window
    assert (window.top, window.left, window.height, window.width) == (7, 5, 48, 64)
    copy(path, out)
    spec = oiio.ImageInput.open(str(out)).spec()
    assert (spec.x, spec.y, spec.full_width, spec.full_height) == (5, 7, 64, 48)
    np.testing.assert_array_equal(open_plate(out).read(1001).picture.pixels, pixels)


def test_a_lossy_exr_compression_is_replaced_and_the_change_is_said(tmp_path, make_image):
    path = tmp_path / "plate.1001.exr"
    make_image(path, ramp(np.float16, size=(64, 64)), compression="dwaa")
    output = open_output(tmp_path / "out.1001.exr", open_plate(path).info)
    assert any("zip" in note for note in output.notes)
    stored = open_plate(path).read(1001)
    output.write(stored)
    again = open_plate(tmp_path / "out.1001.exr")
    assert again.info.compression == "zip"
    np.testing.assert_array_equal(again.read(1001).picture.pixels, stored.picture.pixels)


@pytest.mark.parametrize("name", ["s.%04d.png", "s.####.png", "s.@@@@.png", ""])
def test_every_notation_finds_the_same_frames(tmp_path, make_image, name):
    for frame in (1001, 1002, 1003):
        make_image(tmp_path / f"s.{frame}.png", ramp(np.uint8))
    assert [frame.index for frame in open_plate(tmp_path / name)] == [1001, 1002, 1003]
    chosen = open_plate(tmp_path / name, "1001-1003x2")
    assert [frame.index for frame in chosen] == [1001, 1003]
    assert frame_path("out.####.exr", 7).name == "out.0007.exr"
    assert frame_path("out.%06d.exr", 7).name == "out.000007.exr"


def test_missing_frames_are_named_before_anything_is_read(tmp_path):
    for frame in (1, 2, 5, 9):
        (tmp_path / f"s.{frame:04}.exr").touch()
    with pytest.raises(BridgeError, match="3-4,6-8") as holes:
        find_images(tmp_path / "s.####.exr")
    assert holes.value.code == "frame_missing"
    with pytest.raises(BridgeError, match="10"):
        find_images(tmp_path / "s.####.exr", "9-10")
    assert list(find_images(tmp_path / "s.####.exr", "5,9,1").paths) == [5, 9, 1]


def test_a_folder_with_two_sequences_asks_for_a_name(tmp_path):
    for name in ("a.0001.exr", "a.0002.exr", "b.0001.exr", "b.0002.exr"):
        (tmp_path / name).touch()
    with pytest.raises(BridgeError, match="found 2"):
        find_images(tmp_path)


def test_nonsense_ranges_and_absent_files_are_refused(tmp_path):
    with pytest.raises(BridgeError) as nonsense:
        parse_frames("ten to twelve")
    assert nonsense.value.code == "bad_param"
    with pytest.raises(BridgeError) as absent:
        open_plate(tmp_path / "absent.####.exr")
    assert absent.value.code == "clip_unreadable"


def test_a_cut_off_file_is_named_and_nothing_half_written_stays(tmp_path, make_image):
    path = tmp_path / "plate.1001.exr"
    noise = np.random.default_rng(1).random((64, 64, 3)).astype(np.float32)
    make_image(path, noise)
    frame = open_plate(path).read(1001)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(BridgeError, match=r"plate\.1001\.exr") as cut:
        open_plate(path)
    assert cut.value.code == "clip_unreadable"
    blocked = tmp_path / "out.1001.exr"
    blocked.mkdir()
    info = open_plate_info(frame)
    with pytest.raises(BridgeError) as refused:
        open_output(blocked, info).write(frame)
    assert refused.value.code == "output_not_writable"
    assert not list(tmp_path.glob(".*"))


def open_plate_info(frame):
    from bridge_server.media.frame import PlateInfo

    height, width = frame.picture.size
    return PlateInfo(
        "plate", "image", height, width, [1001], frame.picture.coding, channels=("R", "G", "B")
    )


def test_image_types_that_would_change_the_luma_are_refused(tmp_path, make_image):
    make_image(tmp_path / "plate.0001.jpg", ramp(np.uint8))
    info = open_plate(tmp_path / "plate.0001.jpg").info
    with pytest.raises(BridgeError, match=r"\.jpg") as refused:
        open_output(tmp_path / "out.0001.jpg", info)
    assert refused.value.code == "unsupported_format"


def test_header_entries_reach_every_file(tmp_path, make_image):
    make_image(tmp_path / "plate.0001.exr", ramp(np.float16))
    deliver = Deliver(metadata={"chromabridge:network": "starter"})
    copy(tmp_path / "plate.0001.exr", tmp_path / "out.0001.exr", deliver)
    assert open_plate(tmp_path / "out.0001.exr").info.metadata["chromabridge:network"] == "starter"


@pytest.mark.parametrize("suffix", [".tif", ".dpx", ".png", ".exr"])
def test_equal_runs_give_equal_bytes(tmp_path, suffix):
    """No time of day in the files: a re-run, or one that was killed, ends in the same bytes."""
    pixels = np.random.default_rng(0).integers(0, 65535, (9, 14, 3), dtype=np.uint16)
    coding = RgbCoding(16)
    if suffix == ".exr":
        pixels, coding = (pixels / 65535).astype(np.float32), RgbCoding(32, floating=True)
    frame = PlateFrame(1, RgbPicture(pixels, ("R", "G", "B"), (0, 1, 2), coding))
    written = []
    for number in range(2):
        path = tmp_path / str(number) / f"same{suffix}"
        path.parent.mkdir()
        write_image(path, frame, ImageSettings())
        written.append(path.read_bytes())
        time.sleep(1.05)
    assert written[0] == written[1]
    assert str(tmp_path).encode() not in written[0]
