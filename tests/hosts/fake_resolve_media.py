"""The pictures behind the fake Resolve: a movie or an image sequence in, rendered files out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import OpenImageIO as oiio

Picture = npt.NDArray[np.float32]
SEQUENCE = re.compile(r"^(.*)\.\[(\d+)-(\d+)\](\.\w+)$")


class Media:
    """Frames of one file or sequence, as display-encoded RGB in 0..1, (H, W, 3)."""

    def __init__(self, path: str) -> None:
        self.path = path
        found = SEQUENCE.match(path)
        self.files: list[Path] = []
        self._frames: dict[int, Picture] = {}
        if found:
            stem, first, last, suffix = found.groups()
            self.files = [
                Path(f"{stem}.{number:0{len(first)}d}{suffix}")
                for number in range(int(first), int(last) + 1)
            ]
            self.count = len(self.files)
            self.rate = ""
            height, width, _ = self.frame(0).shape
        else:
            with av.open(path) as container:
                stream = container.streams.video[0]
                for number, frame in enumerate(container.decode(stream)):
                    pixels = frame.to_ndarray(format="rgb24")
                    self._frames[number] = pixels.astype(np.float32) / 255
                self.rate = f"{float(stream.average_rate or 24):g}"
            self.count = len(self._frames)
            height, width, _ = self._frames[0].shape
        self.height, self.width = height, width

    def frame(self, number: int) -> Picture:
        """Frame `number`, from 0; reads beyond the end hold the last frame, as Resolve does."""
        number = min(max(number, 0), self.count - 1)
        if number not in self._frames:
            self._frames[number] = read_picture(self.files[number])
        return self._frames[number]


def read_picture(path: Path) -> Picture:
    source = oiio.ImageInput.open(str(path))
    if source is None:
        raise OSError(oiio.geterror())
    pixels: Any = source.read_image(0, 0, 0, 3, oiio.FLOAT)
    source.close()
    return np.asarray(pixels, np.float32)


def write_picture(path: Path, picture: Picture) -> None:
    """EXR as half, TIFF as 16 bits, everything else as 8 bits."""
    kinds = {".exr": oiio.HALF, ".tif": oiio.UINT16, ".tiff": oiio.UINT16}
    height, width, channels = picture.shape
    spec = oiio.ImageSpec(width, height, channels, kinds.get(path.suffix.lower(), oiio.UINT8))
    target = oiio.ImageOutput.create(str(path))
    target.open(str(path), spec)
    target.write_image(np.clip(picture, 0, 1))
    target.close()


def write_movie(path: Path, pictures: list[Picture], rate: int = 24) -> None:
    """A small lossless-enough test clip."""
    height, width, _ = pictures[0].shape
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        stream.options = {"crf": "2", "preset": "ultrafast"}
        for picture in pictures:
            pixels = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
