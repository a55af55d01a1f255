"""Deep Exemplar's matching at a full picture's size: workspace, time, and whether it is the same.

    python benchmarks/matching.py --size 540x960 1080x1920 --workspace-mib 256

The networks run at the given size here (no half resolution), so the matrix that the published
order of operations would hold has ((H / 4) (W / 4))^2 floats: 67 GB at 1080p. Unit vectors are
smooth random fields, so that neighbors resemble one another as features do. Rows drawn at random
are matched once more against all columns at once, and must find the same colors. The peak is of
resident memory, so it counts the result (20 bytes a position) and what libraries touch first.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from step import _peak, _size, machine_facts
from torch import Tensor

from models.deep_exemplar.matching import Matcher, nearest, shortlisted
from models.deep_exemplar.warp import unit_positions

CHANNELS = 256


def main() -> None:
    """Measure both matchers and print and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=_size, nargs="+", default=[(1080, 1920)], metavar="HxW")
    parser.add_argument("--workspace-mib", type=int, default=256)
    parser.add_argument("--rows", type=int, default=2048, help="how many are matched once more")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "matching.json"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows: list[dict[str, Any]] = []
    for full_height, full_width in arguments.size:
        height, width = full_height // 4, full_width // 4
        generator = torch.Generator().manual_seed(1)
        theta = _vectors(height, width, generator).T.contiguous()
        phi = _vectors(height, width, generator)
        colors = torch.rand(height * width, 2, generator=generator) * 200 - 100
        some = torch.randperm(height * width, generator=generator)[: arguments.rows]
        for name, matcher in (("nearest", nearest), ("shortlisted", shortlisted)):
            rows.append(
                {
                    "size": f"{full_height}x{full_width}",
                    "matcher": name,
                    **measure(matcher, theta, phi, colors, some, arguments.workspace_mib),
                }
            )
            print(rows[-1], flush=True)
    facts = machine_facts(torch.device("cpu"))
    arguments.out.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")


def measure(
    matcher: Matcher, theta: Tensor, phi: Tensor, colors: Tensor, some: Tensor, mib: int
) -> dict[str, Any]:
    """theta: (n, K), phi: (K, n), colors: (n, 2), some: (r,) rows to match once more."""
    with torch.inference_mode(), _peak(torch.device("cpu")) as peak:
        started = time.perf_counter()
        match = matcher(theta, phi, colors, workspace_bytes=mib * 2**20)
        seconds = time.perf_counter() - started
    dense = torch.cat([(part @ phi).argmax(1) for part in torch.split(theta[some], 256)])
    return {
        "positions": len(theta),
        "workspace_mib_asked": mib,
        "peak_mib": round(peak.bytes / 2**20),
        "seconds": round(seconds, 1),
        "rows_compared": len(some),
        "rows_with_another_match": int((match.index[some] != dense).sum()),
        "greatest_color_difference": float((match.color[some] - colors[dense]).abs().max()),
    }


def _vectors(height: int, width: int, generator: torch.Generator) -> Tensor:
    """(256, height * width) unit vectors that change over about eight positions."""
    coarse = torch.randn(1, CHANNELS, height // 8 + 2, width // 8 + 2, generator=generator)
    smooth = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
    noise = torch.randn(1, CHANNELS, height, width, generator=generator) * 0.1
    return unit_positions(smooth + noise).contiguous()


if __name__ == "__main__":
    main()
