"""Movies in and out keep codes, sound, timecode, rate, tags and pixel aspect."""

from __future__ import annotations

import errno
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from bridge_server.media import Deliver, open_output, open_plate
from bridge_server.media.frame import ColorTags, PlateFrame, YcbcrCoding, YcbcrPicture
from bridge_server.media.pixel_formats import coding_of
from host_plugins.wire.errors import BridgeError

INTRA = {"g": "1"}


def copy(plate_path: Path, out_path: Path, deliver: Deliver | None = None, frames=None):
    plate = open_plate(plate_path, frames)
    output = open_output(out_path, plate.info, deliver)
    for frame in plate:
        output.write(recoded(frame, output.target))
    output.finish()
    return output


def recoded(frame: PlateFrame, target: YcbcrCoding) -> PlateFrame:
    """The frame with its Y codes and neutral chroma in another coding of at least its depth."""
    picture = frame.picture
    assert isinstance(picture, YcbcrPicture)
    y = picture.y.astype(target.dtype) << (target.bits - picture.coding.bits)
    size = target.chroma_size(*picture.size)
    flat = np.full(size, target.neutral, target.dtype)
    alpha = np.full(picture.size, (1 << target.bits) - 1, target.dtype) if target.alpha else None
    return replace(frame, picture=YcbcrPicture(y, flat, flat, alpha, target))


@pytest.mark.parametrize(
    "pix_fmt",
    ["yuv420p", "yuv422p10le", "yuv444p12le", "yuv444p16le", "yuva444p10le", "gray10le", "gray"],
)
@pytest.mark.parametrize("size", [(48, 64), (17, 31), (1, 1)])
def test_decoded_planes_are_the_codes_that_were_encoded(tmp_path, make_movie, pix_fmt, size):
    path = tmp_path / "plate.mkv"
    planes = make_movie(path, "ffv1", pix_fmt, size=size, count=2)
    for frame, expected in zip(open_plate(path), planes, strict=True):
        picture = frame.picture
        found = [p for p in (picture.y, picture.cb, picture.cr, picture.alpha) if p is not None]
        assert len(found) == len(expected)
        for plane, codes in zip(found, expected, strict=True):
            np.testing.assert_array_equal(plane, codes)


@pytest.mark.parametrize("pix_fmt", ["bgr0", "gbrp10le", "gbrp16le", "gbrap12le"])
def test_rgb_movies_come_back_bit_for_bit(tmp_path, make_movie, pix_fmt):
    path, copied = tmp_path / "plate.mkv", tmp_path / "out.mkv"
    if pix_fmt == "bgr0":
        pixels = np.random.default_rng(3).integers(0, 256, (18, 30, 3), np.uint8)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", 24)
            stream.width, stream.height, stream.pix_fmt = 30, 18, "bgr0"
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = 0, Fraction(1, 24)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    else:
        make_movie(path, "ffv1", pix_fmt, count=2)
    plate = open_plate(path)
    output = open_output(copied, plate.info)
    frames = list(plate)
    for frame in frames:
        output.write(frame)
    output.finish()
    assert ("A" in plate.info.channels) is pix_fmt.startswith("gbra")
    if pix_fmt == "bgr0":
        np.testing.assert_array_equal(frames[0].picture.pixels, pixels)
    for before, after in zip(frames, open_plate(copied), strict=True):
        np.testing.assert_array_equal(before.picture.pixels, after.picture.pixels)


def test_ffv1_keeps_the_y_plane_bit_for_bit_after_encoding(tmp_path, make_movie):
    planes = make_movie(tmp_path / "plate.mkv", "ffv1", "yuv422p10le")
    copy(tmp_path / "plate.mkv", tmp_path / "out.mkv")
    for frame, expected in zip(open_plate(tmp_path / "out.mkv"), planes, strict=True):
        np.testing.assert_array_equal(frame.picture.y, expected[0])


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("prores_422_hq", ".mov"), ("prores_422_hq", ".mxf"), ("prores_4444", ".mov"),
        ("dnxhr_hqx", ".mov"), ("dnxhr_hqx", ".mxf"), ("dnxhr_444", ".mxf"), ("h264", ".mp4"),
        ("h264", ".mov"), ("hevc", ".mp4"),
    ],
)  # fmt: skip
def test_every_codec_writes_a_playable_movie_of_the_same_size_and_length(
    tmp_path, make_movie, name, suffix
):
    make_movie(tmp_path / "plate.mkv", "ffv1", "yuv420p", size=(130, 258))
    copy(tmp_path / "plate.mkv", tmp_path / f"out{suffix}", Deliver(codec=name))
    made = open_plate(tmp_path / f"out{suffix}")
    assert (made.info.height, made.info.width) == (130, 258)
    assert len(list(made)) == 5 == len(made.info.frames)
    assert made.info.rate == 24
    assert not list(tmp_path.glob(".*"))


def test_a_lossless_h264_keeps_the_y_plane_too(tmp_path, make_movie):
    planes = make_movie(tmp_path / "plate.mkv", "ffv1", "yuv420p")
    deliver = Deliver(codec="h264", quality=0)
    output = copy(tmp_path / "plate.mkv", tmp_path / "out.mp4", deliver)
    assert not any("lossy" in note for note in output.notes)
    for frame, expected in zip(open_plate(tmp_path / "out.mp4"), planes, strict=True):
        np.testing.assert_array_equal(frame.picture.y, expected[0])


@pytest.mark.parametrize("suffix", [".mov", ".mxf"])
def test_sound_timecode_rate_tags_and_pixel_aspect_come_along(tmp_path, make_movie, suffix):
    path, out = tmp_path / "plate.mov", tmp_path / f"out{suffix}"
    rate = Fraction(30000, 1001)
    make_movie(
        path, "prores_ks", "yuv422p10le", rate=rate, timecode="01:00:59;28", audio="pcm_s16le",
        tags=(9, 1, 9, 1), aspect=Fraction(4, 3), options={"profile": "hq"},
    )  # fmt: skip
    plate = open_plate(path)
    assert plate.info.timecode == "01:00:59;28"
    assert [frame.timecode for frame in plate][2] == "01:01:00;02"
    copy(path, out)
    made = open_plate(out).info
    assert made.rate == rate
    assert made.timecode == "01:00:59;28"
    assert made.audio
    assert made.pixel_aspect == Fraction(4, 3)
    assert (made.tags.primaries, made.tags.matrix) == (9, 9)
    assert sound(out).tobytes().startswith(sound(path).tobytes()[:4000])


def test_a_range_of_a_movie_starts_its_timecode_and_sound_there(tmp_path, make_movie):
    path, out = tmp_path / "plate.mov", tmp_path / "out.mov"
    make_movie(path, "prores_ks", "yuv422p10le", timecode="10:00:00:00", audio="pcm_s16le", count=8)
    copy(path, out, frames="3-6")
    made = open_plate(out)
    assert made.info.timecode == "10:00:00:03"
    assert len(made.info.frames) == 4
    samples = sound(out).ravel()
    assert 102 <= samples[0] <= 103
    assert samples[-1] <= 107


def test_every_second_frame_has_no_sound_and_says_so(tmp_path, make_movie):
    path = tmp_path / "plate.mov"
    make_movie(path, "prores_ks", "yuv422p10le", audio="pcm_s16le", count=6)
    output = copy(path, tmp_path / "out.mov", frames="0-5x2")
    assert any("audio" in note for note in output.notes)
    assert not open_plate(tmp_path / "out.mov").info.audio


def test_sound_that_outlasts_the_pictures_is_kept_and_compressed_sound_copied(tmp_path, make_movie):
    path, out = tmp_path / "plate.mov", tmp_path / "out.mov"
    make_movie(path, "prores_ks", "yuv422p10le", count=3)
    with av.open(str(path)) as source, av.open(str(tmp_path / "long.mov"), "w") as longer:
        video = longer.add_stream_from_template(source.streams.video[0])
        sound_out = longer.add_stream("aac", 48000)
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = video
                longer.mux(packet)
        tone = np.sin(np.arange(48000) * 0.05).astype(np.float32)[None] * 0.5
        frame = av.AudioFrame.from_ndarray(
            np.concatenate([tone] * len(sound_out.codec_context.layout.channels)),
            format="fltp", layout=sound_out.codec_context.layout.name,
        )  # fmt: skip
        frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
        for packet in [*sound_out.encode(frame), *sound_out.encode(None)]:
            longer.mux(packet)
    copy(tmp_path / "long.mov", out)
    np.testing.assert_array_equal(sound(out), sound(tmp_path / "long.mov"))
    assert sound(out).shape[1] > 40000


def test_sound_that_a_container_cannot_hold_is_named(tmp_path, make_movie):
    make_movie(tmp_path / "plate.mkv", "ffv1", "yuv422p10le", audio="libopus", size=(130, 258))
    output = copy(tmp_path / "plate.mkv", tmp_path / "out.mxf")
    assert any("opus does not fit .mxf" in note for note in output.notes)


def test_variable_frame_rate_keeps_its_times(tmp_path):
    path, out = tmp_path / "plate.mkv", tmp_path / "out.mkv"
    times = [0, 40, 80, 200, 240, 500]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", 25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time in times:
            frame = av.VideoFrame(32, 32, "yuv420p")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    copy(path, out)
    found = [round(frame.pts * frame.time_base * 1000) for frame in open_plate(out)]
    assert found == times


def test_a_movie_that_players_turn_is_turned_again_and_says_so(tmp_path):
    path, out = tmp_path / "plate.mov", tmp_path / "out.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("prores_ks", 24)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv422p10le"
        stream.set_display_rotation(90)
        frame = av.VideoFrame(64, 32, "yuv422p10le")
        frame.pts, frame.time_base = 0, Fraction(1, 24)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    copy(path, out)
    made = open_plate(out).info
    assert made.rotation == 90
    assert (made.height, made.width) == (32, 64)
    assert "90 degrees" in made.notes[0]


def test_alpha_of_a_prores_4444_comes_along(tmp_path, make_movie):
    path, out = tmp_path / "plate.mov", tmp_path / "out.mkv"
    make_movie(path, "prores_ks", "yuva444p10le", options={"profile": "4444"}, count=1)
    plate = open_plate(path)
    assert plate.info.coding.alpha
    output = open_output(out, plate.info, Deliver(codec="ffv1"))
    frame = plate.read(0)
    output.write(frame)
    output.finish()
    np.testing.assert_array_equal(open_plate(out).read(0).picture.alpha, frame.picture.alpha)


def test_a_full_disk_has_its_own_code_and_a_missing_folder_too(tmp_path, make_movie, monkeypatch):
    make_movie(tmp_path / "plate.mkv", "ffv1", "yuv422p10le", count=1)
    plate = open_plate(tmp_path / "plate.mkv")
    output = open_output(tmp_path / "out.mov", plate.info)

    def full(self, packets):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(output), "_mux", full)
    with pytest.raises(BridgeError) as refused:
        output.write(recoded(plate.read(0), output.target))
    assert refused.value.code == "disk_full"
    output.abort()
    (tmp_path / "file").touch()
    with pytest.raises(BridgeError) as blocked:
        open_output(tmp_path / "file" / "out.mov", plate.info)
    assert blocked.value.code == "output_not_writable"


def test_a_rate_that_mxf_does_not_know_is_refused_with_a_way_out(tmp_path, make_movie):
    make_movie(tmp_path / "plate.mkv", "ffv1", "yuv422p10le", count=1)
    info = replace(open_plate(tmp_path / "plate.mkv").info, rate=Fraction(123457, 6113))
    with pytest.raises(BridgeError) as refused:
        open_output(tmp_path / "out.mxf", info, Deliver(codec="dnxhr_hqx"))
    assert refused.value.code == "unsupported_format"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plate.mkv"]


def test_one_frame_is_found_by_its_number_behind_a_seek(tmp_path, make_movie):
    path = tmp_path / "plate.mp4"
    options = {"qp": "0", "g": "10", "bf": "2"}
    planes = make_movie(path, "libx264", "yuv420p", count=60, options=options)
    plate = open_plate(path)
    for index in (0, 29, 47, 59):
        np.testing.assert_array_equal(plate.read(index).picture.y, planes[index][0])
    some = [frame.index for frame in open_plate(path, "31-40x3")]
    assert some == [31, 34, 37, 40]


def test_interlaced_movies_are_refused_with_advice(tmp_path, make_movie):
    path = tmp_path / "plate.mov"
    make_movie(path, "prores_ks", "yuv422p10le", options={"flags": "+ildct+ilme"}, field_order="tt")
    with pytest.raises(BridgeError, match="interlaced") as refused:
        open_plate(path)
    assert refused.value.code == "interlaced"
    assert "De-interlace" in refused.value.hint


def test_a_cancelled_movie_plays_up_to_its_last_frame(tmp_path, make_movie):
    make_movie(tmp_path / "plate.mkv", "ffv1", "yuv422p10le")
    plate = open_plate(tmp_path / "plate.mkv")
    output = open_output(tmp_path / "out.mov", plate.info)
    for frame in plate:
        if frame.index == 3:
            break
        output.write(recoded(frame, output.target))
        assert not (tmp_path / "out.mov").exists()
    assert output.finish() == [tmp_path / "out.mov"]
    assert len(list(open_plate(tmp_path / "out.mov"))) == 3


def test_an_aborted_movie_leaves_nothing_behind(tmp_path, make_movie):
    make_movie(tmp_path / "plate.mkv", "ffv1", "yuv422p10le")
    plate = open_plate(tmp_path / "plate.mkv")
    output = open_output(tmp_path / "out.mov", plate.info)
    output.write(recoded(plate.read(0), output.target))
    output.abort()
    assert [path.name for path in tmp_path.iterdir()] == ["plate.mkv"]


def test_what_a_file_type_cannot_keep_is_said(tmp_path, make_movie):
    make_movie(tmp_path / "plate.mkv", "ffv1", "yuv420p16le", tags=(1, 1, 1, 2))
    info = open_plate(tmp_path / "plate.mkv").info
    output = open_output(tmp_path / "out.mov", info, Deliver(codec="prores_422_hq"))
    output.abort()
    assert any("16-bit luma is rounded to 10 bits" in note for note in output.notes)
    assert any("full range" in note for note in output.notes)


def test_a_codec_that_does_not_fit_its_container_names_those_that_do(tmp_path, make_movie):
    make_movie(tmp_path / "plate.mkv", "ffv1", "yuv420p")
    info = open_plate(tmp_path / "plate.mkv").info
    with pytest.raises(BridgeError) as refused:
        open_output(tmp_path / "out.mxf", info, Deliver(codec="h264"))
    assert refused.value.code == "unsupported_format"
    assert ".mp4" in refused.value.hint


def test_odd_sizes_are_never_cropped(tmp_path, make_movie):
    make_movie(tmp_path / "plate.mkv", "ffv1", "yuv420p", size=(45, 81))
    copy(tmp_path / "plate.mkv", tmp_path / "out.mp4", Deliver(codec="h264"))
    assert open_plate(tmp_path / "out.mp4").info.coding.shift_x == 0
    assert len(list(open_plate(tmp_path / "out.mp4"))) == 5
    info = open_plate(tmp_path / "plate.mkv").info
    assert (info.height, info.width) == (45, 81)
    with pytest.raises(BridgeError, match="even width") as refused:
        open_output(tmp_path / "out.mov", info, Deliver(codec="prores_422_hq"))
    assert "prores_4444" in refused.value.hint


@pytest.mark.parametrize(("tag", "full"), [(0, True), (1, False), (2, True)])
def test_untagged_gray_is_full_range(tag, full):
    assert coding_of("gray10le", ColorTags(range=tag), 1080).full_range is full


def test_formats_that_players_rearrange_are_told_apart_from_those_we_refuse():
    assert coding_of("nv12", ColorTags(), 1080) == YcbcrCoding(8, shift_y=1, shift_x=1)
    assert coding_of("yuvj420p", ColorTags(), 1080).full_range
    assert coding_of("yuv422p", ColorTags(matrix=9), 1080).matrix == "bt2020"
    assert coding_of("yuv422p", ColorTags(), 480).matrix == "bt601"
    assert coding_of("yuv422p", ColorTags(), 1080).matrix == "bt709"
    with pytest.raises(BridgeError, match="pal8"):
        coding_of("pal8", ColorTags(), 1080)


def test_damaged_and_missing_movies_are_named(tmp_path, make_movie):
    with pytest.raises(BridgeError, match="no file") as missing:
        open_plate(tmp_path / "absent.mov")
    assert missing.value.code == "clip_unreadable"
    (tmp_path / "broken.mov").write_bytes(b"not a movie" * 100)
    with pytest.raises(BridgeError) as broken:
        open_plate(tmp_path / "broken.mov")
    assert broken.value.code == "clip_unreadable"


def sound(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1)
