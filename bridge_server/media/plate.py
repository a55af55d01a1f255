"""Open a plate, whatever it is made of: a movie, an image sequence, a folder or one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bridge_server.media import timecode
from bridge_server.media.frame import PlateFrame, PlateInfo, Window
from bridge_server.media.images import ImageFile, read_image
from bridge_server.media.movie_in import open_movie
from bridge_server.media.sequences import IMAGE_SUFFIXES, ImageFiles, find_images, is_pattern
from host_plugins.wire.errors import BridgeError


class Plate(Protocol):
    """A plate: its description and its frames, read only when asked for."""

    @property
    def info(self) -> PlateInfo: ...

    def __iter__(self) -> Iterator[PlateFrame]:
        """The frames in the order of info.frames; may be called again."""

    def read(self, index: int) -> PlateFrame:
        """One frame by its number."""


def open_plate(path: str | Path, frames: str | Sequence[int] | None = None) -> Plate:
    """Open a movie, `shot.%04d.exr`, `shot.####.exr`, a folder with one sequence, or one image.

    frames: "1001-1100x2" or frame numbers; None takes all. Movies count from 0.
    Raises BridgeError clip_unreadable, frame_missing, interlaced, unsupported_format.
    """
    path = Path(path)
    if is_pattern(path) or path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return _open_images(find_images(path, frames))
    return open_movie(path, frames)


@dataclass(frozen=True)
class ImagePlate:
    """Image files as a plate. canvas: (top, left, height, width) in the files' coordinates."""

    info: PlateInfo
    files: ImageFiles
    canvas: tuple[int, int, int, int]

    def __iter__(self) -> Iterator[PlateFrame]:
        return (self.read(index) for index in self.info.frames)

    def read(self, index: int) -> PlateFrame:
        """Read one frame. Raises BridgeError clip_unreadable, frame_missing."""
        path = self.files.paths.get(index)
        if path is None or not path.is_file():
            raise BridgeError("frame_missing", f"Frame {index} of {self.files.pattern} is missing.")
        image = read_image(path)
        picture = image.picture
        if picture.coding != self.info.coding or picture.names != self.info.channels:
            raise BridgeError(
                "clip_unreadable",
                f"{path} has {picture.coding} and channels {picture.names}; the first frame has"
                f" {self.info.coding} and {self.info.channels}.",
                hint="Split the sequence where its format changes.",
            )
        code = image.timecode
        if code is None and self.info.timecode and self.info.rate:
            code = timecode.advance(self.info.timecode, index - self.info.frames[0], self.info.rate)
        return PlateFrame(
            index,
            picture,
            window=self._window(image, path),
            timecode=code,
            attributes=image.header,
            parts=image.parts,
        )

    def _window(self, image: ImageFile, path: Path) -> Window | None:
        if image.box == self.canvas:
            return None
        top, left, height, width = self.canvas
        window = Window(image.box[0] - top, image.box[1] - left, height, width)
        bottom, right = window.top + image.box[2], window.left + image.box[3]
        if min(window.top, window.left) < 0 or bottom > height or right > width:
            raise BridgeError(
                "clip_unreadable",
                f"The pixels of {path} reach outside the {width}x{height} picture of the first"
                " frame.",
                hint="Render with a constant data window, or crop it to the display window.",
            )
        return window


def _open_images(files: ImageFiles) -> ImagePlate:
    frames = list(files.paths)
    first = read_image(files.paths[frames[0]])
    spec = first.header.spec
    canvas = _union(first.box, first.display)
    text = {
        entry.name: str(entry.value) for entry in spec.extra_attribs if isinstance(entry.value, str)
    }
    info = PlateInfo(
        path=files.pattern,
        kind="image" if files.single else "sequence",
        height=canvas[2],
        width=canvas[3],
        frames=frames,
        coding=first.picture.coding,
        rate=first.rate,
        pixel_aspect=first.pixel_aspect,
        timecode=first.timecode,
        codec=files.paths[frames[0]].suffix.lower().lstrip("."),
        compression=text.get("compression", ""),
        channels=first.picture.names,
        space=text.get("oiio:ColorSpace", ""),
        metadata=text,
    )
    return ImagePlate(info, files, canvas)


def _union(
    box: tuple[int, int, int, int], display: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    top, left = min(box[0], display[0]), min(box[1], display[1])
    bottom = max(box[0] + box[2], display[0] + display[2])
    right = max(box[1] + box[3], display[1] + display[3])
    return top, left, bottom - top, right - left
