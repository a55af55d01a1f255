"""What one run is asked to color, and the names that tell it from every other run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge_server.media import Deliver
from bridge_server.media.deliver import MOVIE_SUFFIXES
from bridge_server.media.sequences import find_images, is_pattern
from host_plugins.client import ExemplarPicture, file_buffer, plane
from host_plugins.wire.buffers import FILE_ENCODINGS


@dataclass(frozen=True)
class ColorizeJob:
    """What to color and how.

    plate, output: as media.open_plate and open_output take them. exemplars: (frame or None, path).
    frames: "1001-1100x2" or None for all. cuts: frame numbers that begin a new shot. overwrite:
    replace an existing output. keep_done: leave frames whose files were finished by the same job.
    """

    plate: Path
    output: Path
    effect: str
    exemplars: tuple[tuple[int | None, Path], ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    frames: str | None = None
    cuts: frozenset[int] = frozenset()
    deliver: Deliver = field(default_factory=Deliver)
    overwrite: bool = False
    priority: str = "batch"
    ocio_config: str = ""


def job_key(job: ColorizeJob) -> str:
    """Names a job, so that a later run finds the state that an earlier one left on the server.

    Empty for a still. The state of a clip belongs to its plate files as they are: a file that
    changed makes it another job.
    """
    clip = is_pattern(job.output) or job.output.is_dir()
    return plate_key(job) if clip or job.output.suffix.lower() in MOVIE_SUFFIXES else ""


def plate_key(job: ColorizeJob) -> str:
    """Names the plate's files as they are, the frames asked for, the cuts and the color config."""
    plate, files = job.plate, [job.plate]
    if is_pattern(plate) or plate.is_dir():
        files = sorted(find_images(plate, job.frames).paths.values())
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    told = [str(plate.absolute()), job.frames, sorted(job.cuts), job.ocio_config, stats]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def pixel_settings(
    job: ColorizeJob,
    target: object,
    effective: Mapping[str, Any],
    made_by: Mapping[str, Any],
    sha256: Sequence[str],
) -> dict[str, Any]:
    """Everything but the plate that can change a pixel of the result.

    target: the output's. effective, made_by: as the server told them. sha256: of the exemplars'
    files, in order.
    """
    deliver = job.deliver
    return {
        "effect": job.effect,
        "effective": effective,
        "made_by": made_by,
        "exemplars": [
            [index, digest] for (index, _), digest in zip(job.exemplars, sha256, strict=True)
        ],
        "ocio": job.ocio_config,
        "target": repr(target),
        "deliver": [deliver.compression, deliver.chroma_layer, sorted(deliver.metadata.items())],
    }


def exemplar_picture(index: int | None, path: Path) -> ExemplarPicture:
    """The file as it is where the wire takes its format, else its decoded pixels.

    Raises BridgeError for a file that cannot be read.
    """
    ending = path.suffix.lower().lstrip(".")
    if {"tif": "tiff", "jpg": "jpeg"}.get(ending, ending) in FILE_ENCODINGS:
        return ExemplarPicture(file_buffer(path), index)
    from bridge_server.picture import load_exemplar

    return ExemplarPicture(plane("rgb", load_exemplar(path).rgb), index)
