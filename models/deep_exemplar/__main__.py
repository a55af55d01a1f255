"""Checks that the three official files fit: python -m models.deep_exemplar PATH..."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from torch import nn

from models.deep_exemplar.color_network import ColorVidNet
from models.deep_exemplar.vgg import Vgg19
from models.deep_exemplar.warp import WarpNet
from models.weights import WeightsMismatch, load_strict, read_tensors

_FILES: tuple[tuple[str, type[nn.Module]], ...] = (
    ("vgg19_conv", Vgg19),
    ("nonlocal_net", WarpNet),
    ("colornet", ColorVidNet),
)


def main(arguments: list[str] | None = None) -> int:
    """Load each file strictly, tensors only, and say what fits. Returns 0 when all three do."""
    parser = argparse.ArgumentParser(
        prog="python -m models.deep_exemplar",
        description="Check that the official Deep Exemplar weights fit, key for key.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="a folder searched for the three files, or the files themselves",
    )
    return check(parser.parse_args(arguments).paths)


def check(paths: list[Path]) -> int:
    """paths: folders or files. Prints a line for each network; 0 when all three fit, else 1."""
    found = [file for path in paths for file in ([path] if path.is_file() else _weights_in(path))]
    failed = 0
    for stem, kind in _FILES:
        files = [file for file in found if file.name.startswith(stem)]
        if len(files) != 1:
            names = ", ".join(file.name for file in files) or "none"
            print(f"{stem}: expected one file {stem}*.pth or .safetensors, got {names}")
            failed += 1
            continue
        network = kind()
        try:
            load_strict(network, read_tensors(files[0]), source=files[0].name)
        except (OSError, WeightsMismatch) as error:
            print(f"{stem}: {error}")
            failed += 1
            continue
        tensors = network.state_dict().values()
        count = sum(tensor.numel() for tensor in tensors)
        print(f"{stem}: {files[0].name} fits, {len(tensors)} tensors, {count:,} parameters")
    return 1 if failed else 0


def _weights_in(folder: Path) -> list[Path]:
    return sorted(file for suffix in ("pth", "safetensors") for file in folder.rglob(f"*.{suffix}"))


if __name__ == "__main__":
    sys.exit(main())
