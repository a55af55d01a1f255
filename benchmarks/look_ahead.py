"""Would a batch of queued frames be encoded faster than frames one by one, and in the same bits?

    python benchmarks/filled_home.py HOME
    python benchmarks/look_ahead.py HOME --precision bf16 --size 432x768 --batch 2 --cpu-time

For ColorMNet's stateless encoder, on filled weights; Deep Exemplar's takes one frame at a time.
One by one and batch take turns within each round; the gain is the median of the rounds.
`same_bits` says whether every frame of the batch equals the same frame encoded alone. Rows are
added to benchmarks/results/look_ahead.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accel import device
from accel.compiling import distance
from accel.device import Facts, probe
from accel.plan import Switches, make_plan
from bridge_server.bench import synthetic_clip
from bridge_server.effects import registry
from bridge_server.effects.effect import LoadRequest
from models.colormnet.config import MULTIPLE
from models.geometry import Padding

RESULTS = Path(__file__).resolve().parent / "results" / "look_ahead.json"
ROUNDS = 3


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    facts = probe(arguments.device)
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    rows: list[dict[str, Any]] = []
    encode = _encoder(arguments.home, arguments.precision, facts)
    for size in arguments.size:
        height, width = map(int, size.split("x"))
        for row in _rows(encode, height, width, arguments.batch, facts, clock):
            rows.append({"precision": arguments.precision, "size": size, **row})
            print(json.dumps(rows[-1]), flush=True)
    kept = json.loads(RESULTS.read_text())["rows"] if RESULTS.is_file() else []
    ours = {_name(row) for row in rows}
    record = {
        "device": facts.to_json(),
        "threads": arguments.threads,
        "clock": clock.__name__,
        "rows": [row for row in kept if _name(row) not in ours] + rows,
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


def _encoder(home: Path, precision: str, facts: Facts) -> Callable[[Tensor], list[Tensor]]:
    """What a frame alone decides: lumas (B, 1, H, W), CIE L, to the tensors that a step needs."""
    plan = make_plan(facts, "colormnet", Switches(precision=precision, use_torch_compile="off"))
    effect = registry.find("colormnet")
    values = effect.describe_in_context("filter").effective({})
    network = effect.load(LoadRequest(plan, home, values)).networks

    def encode(lumas: Tensor) -> list[Tensor]:
        height, width = lumas.shape[-2:]
        padded = Padding.to_multiple(height, width, MULTIPLE).pad((lumas - 50.0) / 50.0)
        features, key = network.encode(padded)
        return [*features, *key]

    return encode


def _rows(
    encode: Callable[[Tensor], Any],
    height: int,
    width: int,
    batches: Sequence[int],
    facts: Facts,
    clock: Callable[[], float],
) -> Iterator[dict[str, Any]]:
    clip = synthetic_clip(height, width, max(batches))
    lumas = torch.cat(clip.lumas).to(facts.device)

    def timed(run: Callable[[], Any]) -> float:
        start = clock()
        run()
        device.wait(facts)
        return clock() - start

    with torch.inference_mode():
        alone = [encode(luma) for luma in torch.split(lumas, 1)]
        for batch in batches:
            together = encode(lumas[:batch])
            away = [
                distance([tensor[i : i + 1] for tensor in together], alone[i]) for i in range(batch)
            ]
            same = all(
                torch.equal(tensor[i : i + 1], one)
                for i in range(batch)
                for tensor, one in zip(together, alone[i], strict=True)
            )
            singles, batches = [], []
            for _ in range(ROUNDS):
                parts = torch.split(lumas[:batch], 1)
                singles.append(timed(lambda parts=parts: [encode(luma) for luma in parts]))
                batches.append(timed(lambda batch=batch: encode(lumas[:batch])))
            yield {
                "batch": batch,
                "seconds_a_frame": min(singles) / batch,
                "gain": statistics.median(a / b for a, b in zip(singles, batches, strict=True)),
                "same_bits": same,
                "relative_error": max(away),
            }


def _name(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["precision"], row["size"], row["batch"]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Frames one by one against a batch.")
    parser.add_argument("home", type=Path, help="made by filled_home.py")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--batch", action="append", type=int, required=True)
    parser.add_argument("--size", action="append", metavar="HxW", required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cpu-time", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
