"""Frames and exemplars that are the same in every run."""

from __future__ import annotations

import numpy as np
import pytest

from host_plugins.client import ClipFrame, ExemplarPicture, plane


@pytest.fixture(scope="session")
def still() -> ExemplarPicture:
    rgb = np.random.default_rng(7).integers(0, 256, (45, 80, 3), dtype=np.uint8)
    return ExemplarPicture(plane("rgb", rgb))


def luma_frame(k: int, size: tuple[int, int] = (90, 160), first: int = 1001) -> ClipFrame:
    """Frame k of a clip that is the same in every run."""
    luma = np.random.default_rng(k).random(size).astype(np.float16)
    return ClipFrame(first + k, (plane("y", luma),))


def colors(results) -> list[bytes]:
    """The bytes of every result, in order."""
    return [bytes(result.buffers[0].data) for result in results]


@pytest.fixture
def clip():
    return luma_frame


@pytest.fixture
def bytes_of():
    return colors
