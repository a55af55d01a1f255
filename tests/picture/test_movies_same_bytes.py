"""Equal frames give equal movies: in every run, on any number of cores, whatever lay in memory."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge_server.media.deliver import CODECS

MAKE = """
import hashlib, os, sys
from pathlib import Path
import numpy as np
from bridge_server.media import Deliver, PlateFrame, PlateInfo, open_output
from bridge_server.media.frame import RgbCoding, RgbPicture, YcbcrCoding, YcbcrPicture
from bridge_server.media.deliver import CODECS
from fractions import Fraction

folder, cores = Path(sys.argv[1]), int(sys.argv[2])
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
size, frames = (130, 270), range(6)
field = np.cumsum(np.random.default_rng(1).integers(-3, 4, (140, 300)), 1) & 127
info = PlateInfo("none", "movie", *size, frames, YcbcrCoding(8), rate=Fraction(24))
for name, codec in CODECS.items():
    for ending in codec.suffixes:
        out = open_output(folder / f"{name}{ending}", info, Deliver(codec=name))
        target = out.target
        for k in frames:
            planes = []
            for height, width in (size, target.chroma_size(*size), target.chroma_size(*size)):
                planes.append((field[k:k + height, 2 * k:2 * k + width] + 20).astype(target.dtype))
            picture = YcbcrPicture(*planes, None, target)
            out.write(PlateFrame(k, picture))
        out.finish()
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> list[Path]:
    """The same movies, made by two processes: other memory, another number of cores."""
    folders = []
    for cores, filling in ((1, "0"), (64, "85")):
        folder = tmp_path_factory.mktemp(f"cores{cores}")
        environment = {**os.environ, "MALLOC_PERTURB_": filling}
        command = [sys.executable, "-c", MAKE, str(folder), str(cores)]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=100)
        folders.append(folder)
    return folders


@pytest.mark.parametrize(
    "name", [f"{name}{ending}" for name, codec in CODECS.items() for ending in codec.suffixes]
)
def test_equal_frames_give_equal_bytes(made, name):
    sums = {hashlib.sha256((folder / name).read_bytes()).hexdigest() for folder in made}
    assert len(sums) == 1


def test_another_picture_has_another_material_number_in_mxf(tmp_path):
    from bridge_server.media import movie_out

    label = movie_out._UMID
    found = []
    for name in (b"A" * 16, b"B" * 16):
        movie = tmp_path / f"{name[:1].decode()}.mxf"
        movie.write_bytes(b"start" + label + b"random18bytes-here" + b"\0" + b"end")
        movie_out._name_material(movie, name)
        found.append(movie.read_bytes())
    assert found[0] != found[1]
    assert all(content.startswith(b"start" + label) for content in found)
    assert all(content.endswith(b"\0end") for content in found)
