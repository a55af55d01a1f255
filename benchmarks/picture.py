"""What the picture pipeline costs beside the network, and what guided upscaling gains.

    python benchmarks/picture.py
    python benchmarks/picture.py --footage DIR --scale 4
    python benchmarks/picture.py --size 2160x3840 --threads 2 --rounds 5

Costs: per frame and kind of plate, the milliseconds of decode, luma transform, resize to working
size, upscale, join and encode, and of one step of the starter network at the same working size
(untrained weights: only time is measured). The pieces take turns round by round, so that a busy
machine slows all of them alike; the median is printed, and the ratio to the network's step.
--clock cpu counts processor time of all threads, which others on the machine hardly change.

Upscaling (--footage): chroma of every movie in the folder is brought down by --scale and up again
by bilinear, bicubic and the guided upscaling. PSNR of ab has a peak of 220 (the range -110..110).
Bleeding is the root mean square error of ab within two pixels of the strongest 5 % of chroma edges.
Everything is also kept in benchmarks/results/picture.json.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bridge_server.media import Deliver, open_output, open_plate
from bridge_server.media.frame import PlateFrame, PlateInfo, RgbCoding, RgbPicture
from bridge_server.picture import (
    JoinSettings,
    join,
    luma_for_network,
    open_spaces,
    upscale_chroma,
    working_luma,
    working_size,
)
from bridge_server.picture.view import display_rgb
from models.color import gray_to_luma, rgb_to_lab
from models.geometry import resize
from models.propagator import Exemplar
from models.starter.config import StarterConfig
from models.starter.network import Starter
from models.starter.propagator import StarterPropagator

HERE = Path(__file__).resolve().parent
Clock = Callable[[], float]
PEAK = 220.0
EDGE_SHARE = 0.95
MOVIE_FRAMES = 4


def main() -> None:
    """Measure, print and write the results."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    result = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    print(platform.machine(), arguments.threads, "threads, torch", torch.__version__)
    if arguments.footage:
        result["upscaling"] = upscaling(arguments.footage, arguments.scale, arguments.every)
    else:
        clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
        result[f"{arguments.clock} ms, {arguments.threads} threads"] = {
            "torch": torch.__version__,
            "plates": [
                row
                for size in arguments.size
                for row in costs(
                    size, arguments.working, arguments.threads, arguments.rounds, clock
                )
            ],
        }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def upscaling(folder: Path, scale: int, every: int) -> dict[str, Any]:
    """PSNR of ab and bleeding of three ways to enlarge chroma, by clip and on average."""
    methods: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "bilinear": lambda small, gray: F.interpolate(small, gray.shape[-2:], mode="bilinear"),
        "bicubic": lambda small, gray: F.interpolate(small, gray.shape[-2:], mode="bicubic"),
        "unguided": lambda small, gray: upscale_chroma(small, gray, 0.0),
        "guided": upscale_chroma,
    }
    table: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in methods}
    for path in sorted(folder.glob("*.mp4")):
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
        for gray, chroma in _truth(path, every):
            size = working_size(*gray.shape[-2:], max(gray.shape[-2:]) // scale)
            small = resize(chroma, *size)
            edge = _edges(chroma)
            for name, method in methods.items():
                found[name].append(_errors(method(small, gray), chroma, edge))
        for name, values in found.items():
            psnr, bleeding = (statistics.mean(column) for column in zip(*values, strict=True))
            table[name][path.stem] = (psnr, bleeding)
    clips = list(table["guided"])
    print(f"\nchroma at 1/{scale}: PSNR of ab in dB / bleeding in ab")
    print("method     " + "".join(f"{name:>16}" for name in [*clips, "mean"]))
    for name, by_clip in table.items():
        means = tuple(statistics.mean(v[i] for v in by_clip.values()) for i in (0, 1))
        cells = [*by_clip.values(), means]
        print(f"{name:11}" + "".join(f"{a:9.2f} /{b:5.2f}" for a, b in cells))
    return table


def _truth(path: Path, every: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Display gray of CIE L (1, 1, H, W) and chroma (1, 2, H, W) of some frames."""
    plate = open_plate(path)
    spaces = open_spaces(plate.info)
    for frame in open_plate(path, list(plate.info.frames)[::every]):
        shown = display_rgb(frame.picture, spaces.input)
        lab = rgb_to_lab(torch.from_numpy(shown).permute(2, 0, 1)[None])
        gray = torch.from_numpy(luma_for_network(frame, spaces))[None, None]
        yield gray, lab[:, 1:]


def _edges(chroma: Tensor) -> Tensor:
    across = chroma[..., :-1, 1:] - chroma[..., :-1, :-1]
    down = chroma[..., 1:, :-1] - chroma[..., :-1, :-1]
    strength = (across.square() + down.square()).sum(1, keepdim=True)
    limit = torch.quantile(strength.flatten()[::7], EDGE_SHARE)
    return F.max_pool2d((strength > limit).float(), 5, 1, 2)[:, 0] > 0


def _errors(found: Tensor, truth: Tensor, edge: Tensor) -> tuple[float, float]:
    square = (found - truth).square()
    psnr = 10 * math.log10(PEAK**2 / float(square.mean()))
    bleeding = float(square.sum(1)[..., :-1, :-1][edge].mean().sqrt())
    return psnr, bleeding


def costs(
    size: tuple[int, int], long_side: int, threads: int, rounds: int, clock: Clock
) -> list[dict[str, Any]]:
    """Milliseconds of every piece for each kind of plate, and of the starter's step."""
    height, width = size
    small = working_size(height, width, long_side)
    step = _starter_step(small)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, made in _plates(Path(folder), height, width).items():
            row = {"plate": name, "size": f"{height}x{width}", "working": f"{small[0]}x{small[1]}"}
            row.update(_pieces(Path(folder), made, small, step, threads, rounds, clock))
            rows.append(row)
            print(
                f"{name:12} {height}x{width}: "
                + ", ".join(f"{k} {v:.3g}" for k, v in row.items() if isinstance(v, float))
            )
    return rows


def _pieces(
    folder: Path,
    made: tuple[Path, Path, str],
    small: tuple[int, int],
    step: Callable[[], object],
    threads: int,
    rounds: int,
    clock: Clock,
) -> dict[str, float]:
    source, target, space = made
    plate = open_plate(source)
    count = len(plate.info.frames)
    spaces = open_spaces(plate.info, input=space)
    settings = JoinSettings(spaces)
    coding = open_output(target, plate.info)
    coding.abort()
    frame = plate.read(plate.info.frames[0])
    gray = torch.from_numpy(luma_for_network(frame, spaces))[None, None]
    _, gray_small = working_luma(gray, *small)
    chroma = resize(torch.randn(1, 2, 9, 16) * 15, *small)
    full = upscale_chroma(chroma, gray, gray_small=gray_small)
    joined = join(frame, full[0], settings, coding.target)

    def encode() -> None:
        output = open_output(target, plate.info)
        for _ in range(count):
            output.write(joined)
        output.finish()

    pieces: dict[str, tuple[Callable[[], object], int]] = {
        "decode": (lambda: [None for _ in plate], count),
        "luma": (lambda: luma_for_network(frame, spaces), 1),
        "resize": (lambda: working_luma(gray, *small), 1),
        "upscale": (lambda: upscale_chroma(chroma, gray, gray_small=gray_small), 1),
        "join": (lambda: join(frame, full[0], settings, coding.target, threads=threads), 1),
        "encode": (encode, count),
        "network": (step, 1),
    }
    times: dict[str, list[float]] = {name: [] for name in pieces}
    for number in range(rounds + 1):
        for name, (piece, frames) in pieces.items():
            start = clock()
            piece()
            if number:
                times[name].append((clock() - start) * 1e3 / frames)
    result = {name: statistics.median(values) for name, values in times.items()}
    others = sum(value for name, value in result.items() if name != "network")
    result["others / network"] = others / result["network"]
    result["upscale / network"] = result["upscale"] / result["network"]
    return {name: round(value, 3) for name, value in result.items()}


def _starter_step(small: tuple[int, int]) -> Callable[[], object]:
    network = Starter(StarterConfig()).eval()
    propagator = StarterPropagator(network)
    generator = torch.Generator().manual_seed(0)
    gray = resize(torch.rand(1, 1, 24, 40, generator=generator), *small)
    luma = gray_to_luma(gray)
    chroma = resize(torch.randn(1, 2, 24, 40, generator=generator) * 20, *small)
    with torch.inference_mode():
        propagator.begin([Exemplar(luma, chroma)])

    def step() -> object:
        with torch.inference_mode():
            return propagator.step(luma, index=0)

    return step


def _plates(folder: Path, height: int, width: int) -> dict[str, tuple[Path, Path, str]]:
    """Plates of a few frames with grain: (source, target, space) by name."""
    random = np.random.default_rng(1)
    rows = np.linspace(0.05, 0.9, height, dtype=np.float32)[:, None]
    values = rows + 0.03 * random.standard_normal((height, width), dtype=np.float32)
    prores, exr = folder / "plate.mov", folder / "plate.1001.exr"
    with av.open(str(prores), "w") as container:
        stream = container.add_stream("prores_ks", 24, {"profile": "hq"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv422p10le"
        codes = (np.clip(values, 0, 1) * 876 + 64).astype(np.uint16)
        for number in range(MOVIE_FRAMES):
            frame = av.VideoFrame(width, height, "yuv422p10le")
            frame.planes[0].update(_padded(np.roll(codes, number, 1), frame.planes[0]))
            for plane in frame.planes[1:]:
                flat = np.full((plane.height, plane.width), 512, np.uint16)
                plane.update(_padded(flat, plane))
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    pixels = np.repeat(values[..., None], 3, 2).astype(np.float16)
    picture = RgbPicture(pixels, ("R", "G", "B"), (0, 1, 2), RgbCoding(16, floating=True))
    info = PlateInfo(str(exr), "image", height, width, [1001], picture.coding)
    open_output(exr, info, Deliver(compression="zip")).write(PlateFrame(1001, picture))
    return {
        "prores": (prores, folder / "out.mov", ""),
        "exr display": (exr, folder / "out.1001.exr", "display"),
        "exr acescct": (exr, folder / "out.1001.exr", "ACEScct"),
    }


def _padded(codes: np.ndarray, plane: Any) -> bytes:
    items = plane.line_size // 2
    rows = np.zeros((plane.height, items), np.uint16)
    rows[:, : plane.width] = codes
    return rows.tobytes()


def _size(text: str) -> tuple[int, int]:
    height, width = text.lower().split("x")
    return int(height), int(width)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=_size, action="append", help="HEIGHTxWIDTH, repeatable")
    parser.add_argument("--working", type=int, default=864, help="long side of the working size")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--footage", type=Path, help="measure upscaling on the movies in DIR")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--every", type=int, default=8, help="use every n-th frame of the footage")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "picture.json")
    arguments = parser.parse_args()
    arguments.size = arguments.size or [(1080, 1920), (2160, 3840)]
    return arguments


if __name__ == "__main__":
    main()
