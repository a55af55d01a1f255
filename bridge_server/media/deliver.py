"""What the user asks of the delivered files, and which coding that gives for a plate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from bridge_server.media.frame import Coding, PlateInfo, RgbCoding, YcbcrCoding
from bridge_server.media.images import LOSSY, WRITABLE
from host_plugins.wire.errors import BridgeError


@dataclass(frozen=True)
class Deliver:
    """How results are written. Empty and None mean: as the plate, where the file type can.

    codec: a name of CODECS, for movies. bit_depth: 8, 10, 12, 16, or 32 for float.
    compression: an OpenImageIO name for image files (zip, piz, dwaa:45, lzw, none). chroma_layer:
    add the color alone as layer `chroma` (EXR). audio: carry audio over. quality: CRF of H.264 and
    HEVC, 0 is lossless. rate: frames a second, where the plate does not say. metadata: text
    entries for every header.
    """

    codec: str = ""
    bit_depth: int | None = None
    compression: str = ""
    chroma_layer: bool = False
    audio: bool = True
    quality: int = 12
    rate: Fraction | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Codec:
    """encoder: FFmpeg's name. bits: depths it can hold. shifts: its sub-samplings (y, x), the
    first being the default. suffixes: containers. legal_only: has no tag for full range."""

    encoder: str
    bits: tuple[int, ...]
    shifts: tuple[tuple[int, int], ...]
    suffixes: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()
    legal_only: bool = False
    alpha: bool = False
    rgb: bool = False


_FULL, _HALF_WIDTH, _QUARTER = (0, 0), (0, 1), (1, 1)
CODECS = {
    "prores_422_hq": Codec(
        "prores_ks", (10,), (_HALF_WIDTH,), (".mov", ".mxf"),
        (("profile", "hq"), ("vendor", "apl0")), legal_only=True,
    ),
    "prores_4444": Codec(
        "prores_ks", (10,), (_FULL,), (".mov", ".mxf"),
        (("profile", "4444"), ("vendor", "apl0"), ("alpha_bits", "16")),
        legal_only=True, alpha=True,
    ),
    "dnxhr_hqx": Codec(
        "dnxhd", (10,), (_HALF_WIDTH,), (".mov", ".mxf"), (("profile", "dnxhr_hqx"),),
        legal_only=True,
    ),
    "dnxhr_444": Codec(
        "dnxhd", (10,), (_FULL,), (".mov", ".mxf"), (("profile", "dnxhr_444"),), legal_only=True,
    ),
    "ffv1": Codec(
        "ffv1", (8, 10, 12, 16), (_FULL, _HALF_WIDTH, _QUARTER), (".mkv", ".avi"),
        (("level", "3"), ("slicecrc", "1"), ("slices", "4")), alpha=True, rgb=True,
    ),
    "h264": Codec(
        "libx264", (8, 10), (_QUARTER, _HALF_WIDTH, _FULL), (".mp4", ".mov", ".mkv"),
        # Equal bytes in every run: its bytes depend on the number of threads, and its AVX2 code
        # for macroblock trees on memory that nobody wrote.
        (("x264-params", "threads=8:lookahead-threads=1:mbtree=0"),),
    ),
    "hevc": Codec(
        "libx265", (8, 10, 12), (_QUARTER, _HALF_WIDTH, _FULL), (".mp4", ".mov", ".mkv"),
        # Without B frames: x265 leaves times unset in clips of one or two frames.
        # As many frames at once on every machine: its bytes depend on that.
        (("x265-params", "log-level=error:bframes=0:frame-threads=2"),),
    ),
}  # fmt: skip
_BY_SUFFIX = {".mov": "prores_422_hq", ".mxf": "dnxhr_hqx", ".mkv": "ffv1", ".mp4": "h264",
              ".avi": "ffv1"}  # fmt: skip
MOVIE_SUFFIXES = frozenset(_BY_SUFFIX)


def choose_codec(path: Path, info: PlateInfo, deliver: Deliver) -> str:
    """The codec name: as asked, else the plate's own, else the container's usual one.

    Raises BridgeError unsupported_format when the container cannot hold the codec asked for.
    """
    suffix = path.suffix.lower()
    if deliver.codec and deliver.codec not in CODECS:
        raise BridgeError(
            "unsupported_format",
            f"Expected a codec of {', '.join(CODECS)}, got {deliver.codec!r}.",
        )
    name = deliver.codec or (info.codec if info.codec in CODECS else "")
    if name and suffix in CODECS[name].suffixes:
        return name
    if deliver.codec:
        raise BridgeError(
            "unsupported_format",
            f"{deliver.codec} cannot be written to {suffix}.",
            hint=f"Use {', '.join(CODECS[deliver.codec].suffixes)}.",
        )
    return _BY_SUFFIX[suffix]


def movie_coding(name: str, info: PlateInfo, deliver: Deliver) -> Coding:
    """The coding that frames must have for a codec: the plate's wherever the codec can hold it."""
    codec, plate = CODECS[name], info.coding
    wanted = deliver.bit_depth or plate.bits
    bits = min((b for b in codec.bits if b >= wanted), default=codec.bits[-1])
    alpha = codec.alpha and _has_alpha(info)
    if codec.rgb and isinstance(plate, RgbCoding):
        return RgbCoding(bits)
    if isinstance(plate, RgbCoding):
        shifts = codec.shifts[0]
        coding = YcbcrCoding(bits, shift_y=shifts[0], shift_x=shifts[1], alpha=alpha)
    else:
        own = (plate.shift_y, plate.shift_x)
        shifts = own if own in codec.shifts and not plate.gray else codec.shifts[0]
        coding = replace(
            plate, bits=bits, shift_y=shifts[0], shift_x=shifts[1], alpha=alpha, gray=False
        )
    if codec.legal_only:
        coding = replace(coding, full_range=False)
    odd_height = info.height % 2 and coding.shift_y
    odd_width = info.width % 2 and coding.shift_x
    if (odd_height or odd_width) and codec.encoder != "ffv1":
        if _FULL not in codec.shifts:
            raise BridgeError(
                "unsupported_format",
                f"{name} needs an even width, the plate is {info.width}x{info.height}.",
                hint="Use prores_4444, ffv1 or an image sequence; nothing is ever cropped.",
            )
        coding = replace(coding, shift_y=0, shift_x=0)
    return coding


def image_coding(path: Path, info: PlateInfo, deliver: Deliver) -> RgbCoding:
    """The coding of image files of this type: the plate's depth wherever the type can hold it.

    Raises BridgeError unsupported_format for types that we do not write.
    """
    suffix, plate = path.suffix.lower(), info.coding
    if suffix not in WRITABLE:
        raise BridgeError(
            "unsupported_format",
            f"Cannot write images named {suffix or path.name}.",
            hint=f"Use one of {', '.join(sorted(WRITABLE))}; JPEG would change the luma.",
        )
    floating = isinstance(plate, RgbCoding) and plate.floating
    bits = deliver.bit_depth or plate.bits
    if suffix == ".exr":
        precise = bits > 10 if not floating or deliver.bit_depth else bits == 32
        if deliver.bit_depth == 16:
            precise = False
        if precise and isinstance(plate, RgbCoding) and plate.half_color and not deliver.bit_depth:
            return plate
        return RgbCoding(32 if precise else 16, floating=True)
    if suffix in (".tif", ".tiff") and (bits == 32 or (floating and not deliver.bit_depth)):
        return RgbCoding(32, floating=True)
    if suffix == ".dpx":
        return RgbCoding(10 if bits <= 10 else 16)
    return RgbCoding(8 if bits == 8 else 16)


def losses(target: Coding, info: PlateInfo, deliver: Deliver, codec: str = "") -> tuple[str, ...]:
    """What the chosen coding cannot keep of the plate, as statements for the job record."""
    said = []
    plate = info.coding
    from_float = isinstance(plate, RgbCoding) and plate.floating
    to_float = isinstance(target, RgbCoding) and target.floating
    if from_float and not to_float:
        said.append(f"float values are written as {target.bits}-bit integers and clipped to them")
    elif not to_float and target.bits < plate.bits:
        said.append(f"{plate.bits}-bit luma is rounded to {target.bits} bits")
    elif to_float and from_float and target.bits < plate.bits:
        said.append("float luma is rounded to half")
    if isinstance(plate, YcbcrCoding) and info.tags.matrix in (0, 2):
        said.append(f"the plate does not say its YCbCr matrix; {plate.matrix} is assumed")
    if isinstance(plate, YcbcrCoding) and isinstance(target, YcbcrCoding):
        if plate.full_range and not target.full_range:
            said.append(f"{codec} has no tag for full range; luma is scaled to legal range")
    elif isinstance(plate, YcbcrCoding) or isinstance(target, YcbcrCoding):
        said.append("luma goes between YCbCr and RGB codes, within one rounding step")
        if not to_float:
            said.append("codes beyond legal black and white are clipped: the file has no room")
    if codec in ("h264", "hevc") and deliver.quality > 0:
        said.append(f"{codec} at CRF {deliver.quality} is lossy; its luma is not bit-exact")
    if codec.startswith(("prores", "dnxhr")):
        said.append(f"{codec} is an intermediate codec; luma is exact up to its compression")
    if _has_alpha(info) and isinstance(target, YcbcrCoding) and not target.alpha:
        said.append(f"{codec} has no alpha; it is left out")
    own, asked = info.compression.split(":")[0], deliver.compression.split(":")[0]
    if own in LOSSY and not asked:
        said.append(f"the plate's compression {own} is lossy; zip is used so that luma stays exact")
    if asked in LOSSY:
        said.append(f"compression {asked} is lossy; luma is not exact")
    return tuple(said)


def _has_alpha(info: PlateInfo) -> bool:
    if isinstance(info.coding, YcbcrCoding):
        return info.coding.alpha
    return any(name.lower() in ("a", "alpha") for name in info.channels)
