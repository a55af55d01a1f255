"""Lets tests of the installer import the helpers beside them, and share two fixtures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from weights_server import Behavior, serve


@pytest.fixture
def server() -> Iterator[tuple[str, Behavior]]:
    """The server's address without a path, and what it does."""
    with serve() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"
