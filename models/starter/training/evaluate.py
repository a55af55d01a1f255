"""Score a checkpoint on the held-out shots, which decide about designs and settings.

python -m models.starter.training.evaluate --clips DIR --run DIR [--blend 0.99]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from models.propagator import Exemplar
from models.starter.blocks import fold_norms
from models.starter.loading import load_starter, prepare
from models.starter.network import Starter
from models.starter.propagator import StarterPropagator, StarterSettings

Array = np.ndarray[Any, np.dtype[Any]]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True, help="with held_out_*.npy")
    parser.add_argument("--run", type=Path, help="else the packaged weights")
    parser.add_argument("--blend", type=float, default=0.0)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    network = load_starter() if arguments.run is None else averaged(arguments.run)
    settings = StarterSettings(temporal_blend=arguments.blend)
    for path in sorted(arguments.clips.glob("held_out_*.npy")):
        shot = np.load(path, mmap_mode="r")
        for name, exemplar in (("first", 0), ("far", len(shot) - 1)):
            error, psnr = score(network, settings, shot, exemplar, arguments.every)
            print(f"{path.stem} {name:6} ab error {error:.3f}  PSNR of ab {psnr:.2f}")


def averaged(run: Path) -> Starter:
    """The averaged network of a run's checkpoint, ready for inference."""
    saved = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    network = Starter()
    network.load_state_dict(saved["average"])
    fold_norms(network)
    return prepare(network)


def score(
    network: Starter, settings: StarterSettings, shot: Array, exemplar: int, every: int
) -> tuple[float, float]:
    """Mean ab distance and PSNR of ab over the shot without the exemplar's frame."""
    labs = [_lab(np.asarray(frame)) for frame in shot]
    propagator = StarterPropagator(network, settings)
    propagator.begin([Exemplar(labs[exemplar][:, :1], labs[exemplar][:, 1:], index=exemplar)])
    errors, squares = [], []
    carried = settings.temporal_blend > 0
    for index, lab in enumerate(labs):
        if index == exemplar and not carried:
            continue
        if index % every and not carried:
            continue
        chroma = propagator.step(lab[:, :1], index=index).chroma
        if index % every == 0 and index != exemplar:
            difference = chroma - lab[:, 1:]
            errors.append(float(torch.linalg.vector_norm(difference, dim=1).mean()))
            squares.append(float((difference**2).mean()))
    return float(np.mean(errors)), float(np.mean(10 * np.log10(255**2 / np.array(squares))))


def _lab(frame: Array) -> torch.Tensor:
    lab = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
    return torch.from_numpy(lab).permute(2, 0, 1)[None].contiguous()


if __name__ == "__main__":
    main()
