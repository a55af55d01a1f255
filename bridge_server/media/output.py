"""Open an output for a plate: a movie, or an image file for every frame."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Protocol

from bridge_server.media.deliver import MOVIE_SUFFIXES, Deliver, image_coding, losses
from bridge_server.media.frame import Coding, PlateFrame, PlateInfo, RgbPicture
from bridge_server.media.images import ImageSettings, write_image
from bridge_server.media.movie_out import MovieOutput
from bridge_server.media.sequences import frame_path, is_pattern
from host_plugins.wire.errors import BridgeError


class Output(Protocol):
    """Where results go. Nothing appears under its final name before it is whole.

    target: the coding that written frames must have (hand it to picture.join). notes: what the
    file type cannot keep, as statements for the job record.
    """

    target: Coding
    notes: tuple[str, ...]

    def write(self, frame: PlateFrame) -> None:
        """Write one joined frame."""

    def finish(self) -> list[Path]:
        """Finalize; returns the files made. Also called after a cancel, to keep what is done."""

    def abort(self) -> None:
        """Drop what is not finished; image files already written stay."""


def open_output(path: str | Path, info: PlateInfo, deliver: Deliver | None = None) -> Output:
    """Open `path` for the results of a plate; its suffix says what is made.

    A pattern (`out.####.exr`) makes one file a frame; a plain image name does for one frame.
    Raises BridgeError unsupported_format, output_not_writable.
    """
    path, deliver = Path(path), deliver or Deliver()
    if path.suffix.lower() in MOVIE_SUFFIXES:
        return MovieOutput(path, info, deliver)
    return ImageOutput(path, info, deliver)


class ImageOutput:
    """Writes one image file a frame; `write` may run on several threads at once."""

    def __init__(self, path: Path, info: PlateInfo, deliver: Deliver) -> None:
        if not is_pattern(path) and len(info.frames) > 1:
            raise BridgeError(
                "unsupported_format",
                f"{path.name} is one image, the plate has {len(info.frames)} frames.",
                hint=f"Name a pattern, for example {path.stem}.####{path.suffix}.",
            )
        if deliver.chroma_layer and path.suffix.lower() != ".exr":
            raise BridgeError(
                "unsupported_format",
                f"A chroma layer needs EXR, got {path.suffix}.",
                hint="Write EXR, or use chroma_only for a picture of the color alone.",
            )
        self.target: Coding = image_coding(path, info, deliver)
        self.notes = losses(self.target, info, deliver)
        if info.audio:
            self.notes += ("audio is left out: image files hold none",)
        self._pattern = path
        metadata = tuple(sorted(deliver.metadata.items()))
        self._settings = ImageSettings(
            deliver.compression, metadata, float(info.pixel_aspect), info.rate or deliver.rate
        )
        self._written: dict[int, Path] = {}
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise BridgeError(
                "output_not_writable", f"Cannot make the folder {path.parent}: {problem}."
            ) from problem

    def path_of(self, index: int) -> Path:
        """The file name of a frame."""
        return frame_path(self._pattern, index)

    def write(self, frame: PlateFrame) -> None:
        """Write one file. Raises BridgeError disk_full, output_not_writable.

        Raises ValueError when the coding of the frame is not `target`.
        """
        if frame.picture.coding != self.target or not isinstance(frame.picture, RgbPicture):
            raise ValueError(f"expected frames in {self.target}, got {frame.picture.coding}")
        path = self.path_of(frame.index)
        write_image(path, frame, self._settings)
        with self._lock:
            self._written[frame.index] = path

    def finish(self) -> list[Path]:
        """The files written, in the order of their frames."""
        with self._lock:
            return [self._written[index] for index in sorted(self._written)]

    def abort(self) -> None:
        """Nothing to drop: every file under its final name is whole."""
