"""A user's folder with invented weights in it, so that benchmarks run the effects as users do.

    python benchmarks/filled_home.py DIR
    CHROMABRIDGE_HOME=DIR chromabridge bench --effect deep_exemplar

The weights are a function of their names (tests/network/fill_weights.py) and go through the
installer like any file that was brought here. Times and memory are those of trained weights of the
same shapes; colors, and so errors, are not: random weights amplify rounding more. The record of
such weights names `filled` as their source. Never point a server at this folder for pictures.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch

from install import licenses, manifest, weight_store, weights
from models.colormnet.network import ColorMNet
from models.weights import convert

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description="A folder with invented weights.")
    parser.add_argument("folder", type=Path)
    print(fill(parser.parse_args().folder))


def fill(home: Path) -> Path:
    """Install filled weights of both official networks, unless they are there; returns home."""
    for name, make in (("colormnet", _colormnet), ("deep_exemplar", _deep_exemplar)):
        entry = manifest.get(name)
        if weight_store.look(entry, home, ROOT)[0] == "installed":
            continue
        licenses.accept(entry, home, name="benchmark", purpose="timing on invented weights")
        with tempfile.TemporaryDirectory() as folder:
            file = make(Path(folder))
            weights.import_file(entry, file, home, convert=convert)
    return home


def _colormnet(folder: Path) -> Path:
    file = folder / "filled.pth"
    torch.save(dict(_helper("fill_weights").fill_(ColorMNet().state_dict())), file)
    return file


def _deep_exemplar(folder: Path) -> Path:
    """An archive laid out as the authors' is."""
    made = _helper("deep_exemplar_recipe").networks()
    parts = {"vgg19_conv": made.vgg, "nonlocal_net": made.warp, "colornet": made.color}
    file = folder / "filled.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for key, name in manifest.get("deep_exemplar").files.items():
            part = folder / f"{key}.pth"
            torch.save(dict(parts[key].state_dict()), part)
            archive.write(part, name)
    return file


def _helper(name: str) -> Any:
    """A module of tests/network."""
    folder = str(ROOT / "tests" / "network")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(name)


if __name__ == "__main__":
    main()
