"""Which files a plate consists of: patterns, folders and single files become frame numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import fileseq

from host_plugins.wire.errors import BridgeError

IMAGE_SUFFIXES = frozenset(
    [
        ".exr",
        ".sxr",
        ".dpx",
        ".cin",
        ".tif",
        ".tiff",
        ".png",
        ".jpg",
        ".jpeg",
        ".jp2",
        ".j2k",
        ".tga",
        ".bmp",
        ".webp",
        ".jxl",
        ".hdr",
    ]
)
_PATTERN = re.compile(r"[#@]|%0?\d*d|\$F\d*|<UDIM>")
_PAD_STYLE = fileseq.PAD_STYLE_HASH1


@dataclass(frozen=True)
class ImageFiles:
    """The files of an image sequence by frame number, in the order they are wanted."""

    paths: dict[int, Path]
    pattern: str
    single: bool


def is_pattern(path: str | Path) -> bool:
    """Whether the name stands for many files: `shot.%04d.exr`, `shot.####.exr`, `shot.@@@.exr`."""
    return bool(_PATTERN.search(Path(path).name))


def find_images(path: str | Path, frames: str | Sequence[int] | None = None) -> ImageFiles:
    """Find the image files behind a pattern, a folder or one file name.

    frames: a range such as "1001-1100x2,1200", or frame numbers; None takes every frame there is.
    Raises BridgeError clip_unreadable when there is nothing or the folder holds several
    sequences, frame_missing with the missing ranges when there are holes.
    """
    path = Path(path)
    if path.is_dir():
        sequence = _only_sequence(path)
    elif is_pattern(path):
        sequence = _on_disk(path)
    else:
        return _single_file(path, frames)
    existing = [int(frame) for frame in sequence.frameSet() or ()]
    wanted = parse_frames(frames) if frames is not None else _without_holes(existing)
    missing = sorted(set(wanted) - set(existing))
    if missing:
        holes = fileseq.framesToFrameRange(missing)
        raise BridgeError(
            "frame_missing",
            f"{len(missing)} of {len(wanted)} frames of {sequence} are missing: {holes}.",
            hint="Render or copy them, or choose a range without them, for example"
            f" {fileseq.framesToFrameRange(existing)}.",
        )
    paths = {frame: Path(sequence.frame(frame)) for frame in wanted}
    return ImageFiles(paths, str(sequence), single=False)


def parse_frames(frames: str | Sequence[int]) -> list[int]:
    """Frame numbers of a range such as "1001-1100x2,1200", in the order given, each once."""
    if not isinstance(frames, str):
        return list(dict.fromkeys(int(frame) for frame in frames))
    try:
        return [int(frame) for frame in fileseq.FrameSet(frames)]
    except fileseq.ParseException as problem:
        raise BridgeError(
            "bad_param",
            f"Expected frames such as 1001-1100 or 1001-1100x2, got {frames!r}.",
            hint="Ranges are first-last inclusive; x2 takes every second frame.",
        ) from problem


def frame_path(pattern: str | Path, frame: int) -> Path:
    """The file name of one frame of a pattern. A name without a pattern stands for itself."""
    if not is_pattern(pattern):
        return Path(pattern)
    sequence = fileseq.FileSequence(str(pattern), pad_style=_PAD_STYLE)
    return Path(sequence.frame(frame))


def _on_disk(pattern: Path) -> fileseq.FileSequence:
    try:
        return fileseq.findSequenceOnDisk(str(pattern), pad_style=_PAD_STYLE, preserve_padding=True)
    except fileseq.FileSeqException as problem:
        raise BridgeError(
            "clip_unreadable",
            f"No files match {pattern}.",
            hint="Check the folder, the spelling and the number of digits.",
        ) from problem


def _only_sequence(folder: Path) -> fileseq.FileSequence:
    found = [
        sequence
        for sequence in fileseq.findSequencesOnDisk(str(folder), pad_style=_PAD_STYLE)
        if sequence.extension().lower() in IMAGE_SUFFIXES and sequence.frameSet()
    ]
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(str(sequence) for sequence in found)) or "none"
    raise BridgeError(
        "clip_unreadable",
        f"Expected one image sequence in {folder}, found {len(found)}: {names}.",
        hint="Name the sequence, for example shot.####.exr.",
    )


def _single_file(path: Path, frames: str | Sequence[int] | None) -> ImageFiles:
    if not path.is_file():
        raise BridgeError("clip_unreadable", f"There is no file {path}.")
    number = re.search(r"(\d+)$", path.stem)
    frame = int(number.group(1)) if number and len(number.group(1)) < 10 else 0
    if frames is not None:
        wanted = parse_frames(frames)
        if len(wanted) != 1:
            raise BridgeError(
                "frame_missing",
                f"{path} is one image, but {len(wanted)} frames were asked for.",
                hint="Name the sequence, for example shot.####.exr.",
            )
        frame = wanted[0]
    return ImageFiles({frame: path}, str(path), single=True)


def _without_holes(existing: list[int]) -> list[int]:
    """All frames from first to last in the step of the sequence; files on twos are no holes."""
    steps = {b - a for a, b in pairwise(existing)}
    step = steps.pop() if len(steps) == 1 else 1
    return list(range(existing[0], existing[-1] + 1, step))
