"""How right the starter network's colors are, beside what they are to be compared with.

    python benchmarks/quality.py                              the clips that ship with the tests
    python benchmarks/quality.py --footage DIR --sheets DIR   any folder with a manifest.json

A manifest lists clips: clip, file, exemplar_first (the first frame, as a picture) and exemplar_far
(a frame of the shot outside the clip, or null). Decoded frames are the truth. Of `first`, frame 0
is not scored. PSNR, SSIM, CIEDE2000 and colorfulness are means over every third frame; CDC,
temporal error and flicker see all frames. Sheets show plate, exemplar, result and truth.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from quality_baselines import BASELINES
from quality_metrics import (
    cdc,
    ciede2000,
    colorfulness,
    flicker,
    psnr,
    psnr_ab,
    ssim,
    temporal_error,
    to_lab,
)

from models.color import lab_to_rgb
from models.propagator import Exemplar
from models.starter import StarterPropagator, StarterSettings, load_starter
from models.starter.loading import WEIGHTS

HERE = Path(__file__).resolve().parent
FOOTAGE = HERE.parent / "tests" / "footage"
STARTERS = {
    "starter": StarterSettings(temporal_blend=0.0),
    "starter + blend": StarterSettings(),
    "starter + blend + self-ensemble": StarterSettings(self_ensemble=True),
}
COLUMNS = ("psnr", "psnr_ab", "ssim", "dE", "dE_last", "CF", "CDC", "CDC_truth", "TE", "flicker",
           "flicker_truth")  # fmt: skip
Array = np.ndarray[Any, np.dtype[Any]]


def main() -> None:
    """Score the asked rows on all clips; print and write the tables."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    results: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for folder, clip in clips(arguments.footage):
        if arguments.clip and clip["clip"] not in arguments.clip:
            continue
        frames = read_frames(folder / clip["file"])[: arguments.frames]
        truth = [to_lab(frame) for frame in frames]
        for mode in ("first", "far"):
            if mode not in arguments.mode or not clip.get(f"exemplar_{mode}"):
                continue
            exemplar = frames[0] if mode == "first" else read_picture(
                folder / clip["exemplar_far"]
            )  # fmt: skip
            for row in arguments.row:
                start = time.monotonic()
                chromas = list(color(row, mode, truth, exemplar, arguments))
                seconds = (time.monotonic() - start) / len(frames)
                joined = [join(lab, c) for lab, c in zip(truth, chromas, strict=True)]
                scores = score(frames, truth, joined, skip=1 if mode == "first" else 0)
                scores["s_per_frame"] = seconds
                results.setdefault(row, {}).setdefault(clip["clip"], {})[mode] = scores
                print(f"{clip['clip']:8} {mode:6} {row:16} "
                      f"dE {scores['dE']:.2f}  {scores['psnr']:.2f} dB", flush=True)  # fmt: skip
                if arguments.sheets:
                    arguments.sheets.mkdir(parents=True, exist_ok=True)
                    name = f"{clip['clip']}_{mode}_{row.replace(' ', '')}.png"
                    sheet = contact_sheet(frames, truth, exemplar, joined)
                    cv2.imwrite(str(arguments.sheets / name), sheet[..., ::-1])
    print(tables(results))
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


def clips(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """All clips of the manifests in root and the folders in it."""
    for manifest in sorted((*root.glob("manifest.json"), *root.glob("*/manifest.json"))):
        for clip in json.loads(manifest.read_text()):
            yield manifest.parent, clip


def color(
    row: str, mode: str, truth: Sequence[Array], exemplar: Array, arguments: argparse.Namespace
) -> Iterator[Array]:
    """Chroma (H, W, 2) of each frame by the method that the row names."""
    lab = to_lab(exemplar).astype(np.float32)
    lumas = [frame[..., 0].astype(np.float32) for frame in truth]
    if row in BASELINES:
        first = mode == "first"
        if first:
            yield lab[..., 1:]
        yield from BASELINES[row](lumas[1:] if first else lumas, lab[..., 0], lab[..., 1:])
        return
    network = load_starter(arguments.weights, precision=arguments.precision)
    propagator = StarterPropagator(network, STARTERS[row])
    propagator.begin(
        [Exemplar(_plane(lab[..., :1]), _plane(lab[..., 1:]), index=0 if mode == "first" else None)]
    )
    for index, luma in enumerate(lumas):
        step = propagator.step(_plane(luma[..., None]), index=index)
        yield step.chroma[0].permute(1, 2, 0).numpy()


def join(lab: Array, chroma: Array) -> Array:
    """The truth's luma with this chroma, as 8-bit RGB."""
    joined = torch.from_numpy(np.dstack((lab[..., :1], chroma))).permute(2, 0, 1)[None]
    rgb = lab_to_rgb(joined)[0].permute(1, 2, 0).clamp(0, 1).numpy()
    return np.rint(rgb * 255).astype(np.uint8)


def score(
    frames: Sequence[Array], truth: Sequence[Array], results: Sequence[Array], *, skip: int
) -> dict[str, float]:
    """All metrics; the first `skip` frames are left out."""
    frames, truth, results = frames[skip:], truth[skip:], results[skip:]
    labs = [to_lab(result) for result in results]
    chosen = range(0, len(frames), 3)
    error = [float(ciede2000(truth[i], labs[i]).mean()) for i in chosen]
    last = error[-max(1, len(error) // 4) :]
    pairs = [(frames[i], results[i]) for i in chosen]
    return {
        "psnr": float(np.mean([psnr(t, r) for t, r in pairs])),
        "psnr_ab": float(np.mean([psnr_ab(truth[i], labs[i]) for i in chosen])),
        "ssim": float(np.mean([ssim(t, r) for t, r in pairs])),
        "dE": float(np.mean(error)),
        "dE_last": float(np.mean(last)),
        "CF": float(np.mean([colorfulness(r) / colorfulness(t) for t, r in pairs])),
        "CDC": cdc(results) * 1000,
        "CDC_truth": cdc(frames) * 1000,
        "TE": temporal_error(truth, labs),
        "flicker": flicker(truth, labs),
        "flicker_truth": flicker(truth, truth),
    }


def tables(results: dict[str, dict[str, dict[str, dict[str, float]]]]) -> str:
    """Markdown: the mean over the clips per mode, then dE / PSNR per clip."""
    lines: list[str] = []
    modes = [
        m for m in ("first", "far") if any(m in c for r in results.values() for c in r.values())
    ]
    for mode in modes:
        lines += ["", f"| exemplar {mode} | " + " | ".join(COLUMNS) + " |"]
        lines.append("|---" * (len(COLUMNS) + 1) + "|")
        for row, by_clip in results.items():
            scores = [c[mode] for c in by_clip.values() if mode in c]
            means = [np.mean([s[name] for s in scores]) for name in COLUMNS]
            lines.append(f"| {row} | " + " | ".join(f"{m:.3f}" for m in means) + " |")
    names = list(dict.fromkeys(clip for by_clip in results.values() for clip in by_clip))
    lines += ["", "| dE / PSNR | " + " | ".join(results) + " |", "|---" * (len(results) + 1) + "|"]
    for clip in names:
        for mode in modes:
            cells = [by_clip.get(clip, {}).get(mode) for by_clip in results.values()]
            if any(cells):
                shown = [f"{c['dE']:.2f} / {c['psnr']:.2f}" if c else "" for c in cells]
                lines.append(f"| {clip} {mode} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def contact_sheet(
    frames: Sequence[Array], truth: Sequence[Array], exemplar: Array, results: Sequence[Array]
) -> Array:
    """Plate | exemplar | result | truth, for four frames spread over the clip."""
    rows = []
    for i in np.linspace(len(frames) // 8, len(frames) - 1, 4).astype(int):
        plate = join(truth[i], np.zeros((*truth[i].shape[:2], 2)))
        cells = (plate, exemplar, results[i], frames[i])
        size = (360, round(360 * plate.shape[0] / plate.shape[1]))
        rows.append(np.hstack([cv2.resize(c, size, interpolation=cv2.INTER_AREA) for c in cells]))
    return np.vstack(rows)


def read_frames(path: Path) -> list[Array]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def read_picture(path: Path) -> Array:
    picture = cv2.imread(str(path))
    if picture is None:
        raise ValueError(f"expected a picture, got {path.name}")
    return np.ascontiguousarray(picture[..., ::-1])


def _plane(picture: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture, np.float32)).permute(2, 0, 1)[None]


def _arguments() -> argparse.Namespace:
    rows = (*BASELINES, *STARTERS)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--footage", type=Path, default=FOOTAGE)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--row", nargs="+", choices=rows, default=rows)
    parser.add_argument("--mode", nargs="+", choices=("first", "far"), default=("first", "far"))
    parser.add_argument("--clip", nargs="+")
    parser.add_argument("--frames", type=int, help="only so many of each clip")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    parser.add_argument("--out", type=Path, help="JSON file for all scores")
    return parser.parse_args()


if __name__ == "__main__":
    main()
