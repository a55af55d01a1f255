"""Encoded pictures from hosts that can only render files: decoded here, joined, encoded again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bridge_server.media.deliver import Deliver, image_coding
from bridge_server.media.frame import PlateFrame
from bridge_server.media.images import ImageSettings, write_image
from bridge_server.media.plate import Plate, open_plate
from bridge_server.picture import ExemplarPicture, Spaces, join, load_exemplar, luma_for_network
from bridge_server.picture.delivery import join_settings, spaces_of
from host_plugins.wire.buffers import Buffer


@dataclass(frozen=True)
class FilePlate:
    """A decoded picture file: the plate's frame, and the luma that the network needs of it."""

    frame: PlateFrame
    plate: Plate
    spaces: Spaces
    luma: Tensor


def decode_plate(buffer: Buffer, parameters: Mapping[str, Any]) -> FilePlate:
    """Read an encoded frame. Raises BridgeError clip_unreadable, unsupported_format, bad_param."""
    with _as_file(buffer) as path:
        plate = open_plate(path)
        frame = plate.read(plate.info.frames[0])
    spaces = spaces_of(plate.info, parameters)
    # half floats, as planes travel: a file and its plane give the same pixels
    luma = torch.from_numpy(luma_for_network(frame, spaces)).half().float()
    return FilePlate(frame, plate, spaces, luma)


def encode_result(
    source: FilePlate,
    chroma: Tensor,
    encoding: str,
    parameters: Mapping[str, Any],
    made_by: Mapping[str, str],
) -> Buffer:
    """Join and write the frame as a file of that format; chroma: (2, H, W).

    made_by: goes into the header where the format holds text.
    """
    told = tuple(sorted((f"chromabridge:{name}", value) for name, value in made_by.items()))
    with tempfile.TemporaryDirectory(prefix="chromabridge-") as folder:
        path = Path(folder) / f"frame.{encoding}"
        target = image_coding(path, source.plate.info, Deliver())
        chroma = chroma.half().float().cpu()
        joined = join(source.frame, chroma, join_settings(source.spaces, parameters), target)
        write_image(path, joined, ImageSettings(metadata=told))
        data = path.read_bytes()
    return Buffer("file", "u1", (len(data),), data, encoding)


def decode_exemplar(buffer: Buffer) -> ExemplarPicture:
    """Read an encoded color still. Raises BridgeError bad_exemplar, clip_unreadable."""
    with _as_file(buffer) as path:
        return load_exemplar(path)


@contextmanager
def _as_file(buffer: Buffer) -> Iterator[Path]:
    """The bytes as a file in a private folder, for as long as the block runs."""
    with tempfile.TemporaryDirectory(prefix="chromabridge-") as folder:
        path = Path(folder) / f"frame.{buffer.encoding}"
        path.write_bytes(buffer.data)
        yield path
