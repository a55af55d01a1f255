"""Timecode counts, drops and packs as SMPTE 12M says."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge_server.media.timecode import advance, pack, unpack

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("start", "frames", "rate", "expected"),
    [
        ("01:00:00:00", 25, Fraction(25), "01:00:01:00"),
        ("23:59:59:23", 1, Fraction(24), "00:00:00:00"),
        ("00:00:59:23", 1, Fraction(24000, 1001), "00:01:00:00"),
        ("00:00:59;29", 1, NTSC, "00:01:00;02"),
        ("00:09:59;29", 1, NTSC, "00:10:00;00"),
        ("00:00:59;59", 1, Fraction(60000, 1001), "00:01:00;04"),
        ("00:00:59:29", 1, NTSC, "00:01:00:00"),
    ],
)
def test_labels_follow_the_rate(start, frames, rate, expected):
    assert advance(start, frames, rate) == expected


def test_one_hour_of_drop_frame_is_107892_frames():
    assert advance("00:00:00;00", 107892, NTSC) == "01:00:00;00"


@given(st.integers(0, 2589407), st.integers(0, 300000))
def test_two_advances_are_one(first, second):
    start = "00:00:00;00"
    assert advance(advance(start, first, NTSC), second, NTSC) == advance(
        start, first + second, NTSC
    )


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 29))
def test_packed_words_come_back(hours, minutes, seconds, frames):
    for separator in ":;":
        text = f"{hours:02}:{minutes:02}:{seconds:02}{separator}{frames:02}"
        assert unpack(pack(text)) == text


def test_other_text_is_refused():
    with pytest.raises(ValueError, match="hh:mm:ss:ff"):
        advance("86400", 1, Fraction(24))
