"""Write a checkpoint's averaged weights as the packaged file: norms folded, fp16.

python -m models.starter.training.export --run DIR [--out FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

from models.starter.blocks import fold_norms
from models.starter.loading import WEIGHTS
from models.starter.network import Starter

LIMIT = 4_000_000


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args(argv)
    export(arguments.run / "checkpoint.pt", arguments.out)


def export(checkpoint: Path, out: Path) -> None:
    """Raises ValueError when a weight does not fit fp16 or the file would be too large."""
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    network = Starter()
    network.load_state_dict(saved["average"])
    fold_norms(network)
    tensors = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    wild = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if wild:
        raise ValueError(f"weights: expected numbers that fit fp16, got others in {wild[:5]}")
    size = sum(value.nbytes for value in tensors.values())
    if size > LIMIT:
        raise ValueError(f"weights: expected at most {LIMIT} bytes, got {size}")
    save_file(tensors, out, metadata={"step": str(saved["step"]), "licence": "Apache-2.0"})
    out.chmod(0o644)


if __name__ == "__main__":
    main()
