"""Draw the curves of a training log.

python -m models.starter.training.plot LOG.jsonl CURVE.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

PANELS = (
    ("losses", ("color", "quarter", "matched", "fine")),
    ("cross-entropies", ("global_match", "fine_match")),
    ("held-out scenes: error of ab", ("held_out_ab",)),
    ("held-out scenes: matches found", ("held_out_hits",)),
)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("curve", type=Path)
    arguments = parser.parse_args(argv)
    records = [json.loads(line) for line in arguments.log.read_text().splitlines()]
    plot(records, arguments.curve)


def plot(records: list[dict[str, Any]], out: Path) -> None:
    """One panel for each group of values, over steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(14, 3.2), dpi=80)
    for axis, (title, names) in zip(axes, PANELS, strict=True):
        for name in names:
            points = [(r["step"], r[name]) for r in records if name in r]
            axis.plot(*zip(*points, strict=True), label=name)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(out)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
