"""Lets the tests of hosts import the doubles beside them; gives each test a home of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for settings, caches and servers that no other test sees."""
    folder = tmp_path / "home"
    monkeypatch.setenv("CHROMABRIDGE_HOME", str(folder))
    return folder
