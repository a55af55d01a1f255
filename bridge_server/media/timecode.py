"""SMPTE 12M timecode: text, packed words and counting, drop-frame included."""

from __future__ import annotations

import re
from fractions import Fraction

_TEXT = re.compile(r"^(\d\d):(\d\d):(\d\d)([:;.])(\d\d)$")


def advance(timecode: str, frames: int, rate: Fraction) -> str:
    """The timecode `frames` later at `rate` frames a second; wraps at 24 hours.

    A semicolon before the frames means drop-frame counting (SMPTE 12M: two labels a minute at
    29.97, four at 59.94, are skipped but in every tenth minute). Raises ValueError on other text.
    """
    found = _TEXT.match(timecode)
    if not found:
        raise ValueError(f"expected a timecode as hh:mm:ss:ff, got {timecode!r}")
    hours, minutes, seconds, count = (int(found.group(i)) for i in (1, 2, 3, 5))
    base = max(1, round(rate))
    dropped = round(base / 15) if found.group(4) in ";." else 0
    total = ((hours * 60 + minutes) * 60 + seconds) * base + count
    whole_minutes = hours * 60 + minutes
    total += frames - dropped * (whole_minutes - whole_minutes // 10)
    total %= 24 * 3600 * base - dropped * (1440 - 144)
    if dropped:
        per_ten = 600 * base - 9 * dropped
        tens, rest = divmod(total, per_ten)
        skipped = 0 if rest < 60 * base else 1 + (rest - 60 * base) // (60 * base - dropped)
        total += dropped * (9 * tens + skipped)
    seconds, count = divmod(total, base)
    separator = ";" if dropped else ":"
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{separator}{count:02}"


def unpack(word: int) -> str:
    """The text of a packed SMPTE word (as EXR and DPX hold it)."""
    hours, minutes = _bcd(word >> 24 & 0x3F), _bcd(word >> 16 & 0x7F)
    seconds, count = _bcd(word >> 8 & 0x7F), _bcd(word & 0x3F)
    separator = ";" if word & 0x40 else ":"
    return f"{hours:02}:{minutes:02}:{seconds:02}{separator}{count:02}"


def pack(timecode: str) -> int:
    """The packed SMPTE word of a timecode text. Raises ValueError on other text."""
    found = _TEXT.match(timecode)
    if not found:
        raise ValueError(f"expected a timecode as hh:mm:ss:ff, got {timecode!r}")
    digits = [int(found.group(i), 16) for i in (1, 2, 3, 5)]
    drop = 0x40 if found.group(4) in ";." else 0
    return digits[0] << 24 | digits[1] << 16 | digits[2] << 8 | digits[3] | drop


def _bcd(byte: int) -> int:
    return (byte >> 4) * 10 + (byte & 15)
