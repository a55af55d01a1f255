"""What one frame of a plate is: pixels in their native depth with a description of their coding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Floats: TypeAlias = npt.NDArray[np.float32]
Siting = Literal["left", "center", "topleft"]

#: (red, blue) luma weights of the YCbCr matrices: ITU-R BT.709, BT.601 and BT.2020.
MATRICES = {"bt709": (0.2126, 0.0722), "bt601": (0.299, 0.114), "bt2020": (0.2627, 0.0593)}


@dataclass(frozen=True)
class YcbcrCoding:
    """Planar YCbCr: codes, sub-sampling and matrix.

    shift_y, shift_x: log2 of how many luma samples share a chroma sample (4:2:0 is 1, 1).
    gray: there are no chroma planes at all.
    """

    bits: int
    full_range: bool = False
    matrix: str = "bt709"
    shift_y: int = 0
    shift_x: int = 0
    siting: Siting = "left"
    alpha: bool = False
    gray: bool = False

    @property
    def black(self) -> int:
        """Code of black in the Y plane."""
        return 0 if self.full_range else 16 << (self.bits - 8)

    @property
    def luma_span(self) -> int:
        """Codes between black and white."""
        return (1 << self.bits) - 1 if self.full_range else 219 << (self.bits - 8)

    @property
    def chroma_span(self) -> int:
        """Codes between the lowest and the highest legal Cb or Cr."""
        return (1 << self.bits) - 1 if self.full_range else 224 << (self.bits - 8)

    @property
    def neutral(self) -> int:
        """Code of no color in Cb and Cr."""
        return 1 << (self.bits - 1)

    @property
    def dtype(self) -> type[np.generic]:
        return np.uint8 if self.bits == 8 else np.uint16

    def chroma_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of Cb and Cr under a luma plane of this size."""
        return -(-height >> self.shift_y), -(-width >> self.shift_x)


@dataclass(frozen=True)
class RgbCoding:
    """Interleaved channels: bits of the integer codes, or floating point of that many bits.

    half_color: red, green and blue are stored as half beside channels of 32 bits (EXR).
    """

    bits: int
    floating: bool = False
    half_color: bool = False

    @property
    def color_bits(self) -> int:
        """Bits of red, green and blue."""
        return 16 if self.half_color else self.bits

    @property
    def peak(self) -> float:
        """The value of white: the highest code, or 1.0."""
        return 1.0 if self.floating else float((1 << self.bits) - 1)

    @property
    def dtype(self) -> type[np.generic]:
        if self.floating:
            return np.float16 if self.bits == 16 else np.float32
        return np.uint8 if self.bits == 8 else np.uint16


Coding = YcbcrCoding | RgbCoding


@dataclass(frozen=True)
class YcbcrPicture:
    """y: (H, W); cb, cr: coding.chroma_size(H, W), or None when gray; alpha: (H, W) or None."""

    y: Array
    cb: Array | None
    cr: Array | None
    alpha: Array | None
    coding: YcbcrCoding

    @property
    def size(self) -> tuple[int, int]:
        return int(self.y.shape[0]), int(self.y.shape[1])


@dataclass(frozen=True)
class RgbPicture:
    """pixels: (H, W, C) with one name for each channel; color names the channels to color.

    color: indices of red, green and blue, or one index three times for a one-channel picture.
    """

    pixels: Array
    names: tuple[str, ...]
    color: tuple[int, int, int]
    coding: RgbCoding

    @property
    def size(self) -> tuple[int, int]:
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])

    @property
    def gray(self) -> bool:
        """Whether one channel holds the whole picture."""
        return self.color[0] == self.color[1] == self.color[2]


Picture = YcbcrPicture | RgbPicture


@dataclass(frozen=True)
class Window:
    """Where the stored pixels lie on the canvas that the network sees; EXR data windows use it."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class PlateFrame:
    """One frame. index: the host's frame number.

    window: the canvas and the place of the pixels on it, None when both are the same.
    pts: presentation time in ticks of time_base, for movies. attributes: what the reader found
    in the file and the writer needs again (an OpenImageIO ImageSpec). parts: further parts of a
    multi-part file as (attributes, pixels), passed through. chroma_layer: (H, W, 3) float32, the
    color alone, for a writer that was asked for it.
    """

    index: int
    picture: Picture
    window: Window | None = None
    pts: int | None = None
    time_base: Fraction | None = None
    timecode: str | None = None
    attributes: Any = None
    parts: tuple[tuple[Any, Array], ...] = ()
    chroma_layer: Floats | None = None

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of the plane that the network sees."""
        return (self.window.height, self.window.width) if self.window else self.picture.size


@dataclass(frozen=True)
class ColorTags:
    """ITU-T H.273 code points as the file holds them; 2 is unspecified. range: 0, 1 tv, 2 pc."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    range: int = 0


@dataclass(frozen=True)
class PlateInfo:
    """What is known of a plate before its frames are read.

    frames: the frame numbers that iteration gives, in order. height, width: of the canvas.
    space: the color space that the file itself declares, or "" when it declares none.
    rotation: degrees counter-clockwise by which a player turns the stored picture.
    timecode: of the first of `frames`. whole: `frames` are all there are. notes: statements that
    a job record should hold.
    """

    path: str
    kind: Literal["movie", "sequence", "image"]
    height: int
    width: int
    frames: Sequence[int]
    coding: Coding
    rate: Fraction | None = None
    pixel_aspect: Fraction = Fraction(1)
    tags: ColorTags = field(default_factory=ColorTags)
    timecode: str | None = None
    field_order: str = "progressive"
    rotation: int = 0
    audio: bool = False
    whole: bool = True
    codec: str = ""
    compression: str = ""
    channels: tuple[str, ...] = ()
    space: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def bits(self) -> int:
        return self.coding.bits
