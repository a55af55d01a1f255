"""The bench: what is measured, what is refused with a reason, and the formula of the error."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from skimage.color import deltaE_ciede2000
from torch import Tensor

from accel.compiling import Compiler
from accel.device import Facts, probe
from bridge_server import bench
from bridge_server.difference import ciede2000
from models.propagator import Exemplar, State, Step

# Pairs and results from the table of Sharma, Wu and Dalal (2005); the rows that trip hues up.
SHARMA = (
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, -1.0, 2.0), (50.0, 0.0, 0.0), 2.3669),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0009), 7.1792),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0011), 7.2195),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
)


@pytest.mark.parametrize(("first", "second", "wanted"), SHARMA)
def test_the_difference_is_the_published_one(
    first: tuple[float, ...], second: tuple[float, ...], wanted: float
) -> None:
    a, b = (torch.tensor(lab, dtype=torch.float64).view(3, 1, 1) for lab in (first, second))
    assert float(ciede2000(a, b)) == pytest.approx(wanted, abs=5e-5)
    assert float(ciede2000(b, a)) == pytest.approx(wanted, abs=5e-5)


def test_the_difference_agrees_with_scikit_image_everywhere() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.rand(3, 40, 50, generator=generator) * 200 - 100 for _ in range(2))
    a[0], b[0] = a[0].abs(), b[0].abs()
    a[1:, :5], b[1:, 3:8] = 0.0, 0.0
    wanted = deltaE_ciede2000(*(t.double().permute(1, 2, 0).numpy() for t in (a, b)))
    torch.testing.assert_close(ciede2000(a, b), torch.from_numpy(wanted), rtol=0, atol=1e-9)


class Painter:
    """A propagator that paints one chroma through a function that a compiler may have wrapped."""

    nbytes = 0

    def __init__(self, paint: Callable[[Tensor], Tensor]) -> None:
        self.paint = paint

    def begin(self, exemplars: Sequence[Exemplar]) -> None:
        pass

    def put_exemplar(self, exemplar: Exemplar) -> None:
        pass

    def step(self, luma: Tensor, *, index: int, want_confidence: bool = False) -> Step:
        return Step(self.paint(luma))

    def reset(self) -> None:
        pass

    def save_state(self) -> State:
        return State()

    def load_state(self, state: State) -> None:
        pass


def build(plan: Any, memory: Any, compiler: Compiler | None) -> Painter:
    value = 20.0 if plan.precision.name == "fp32" else 21.0

    def paint(luma: Tensor) -> Tensor:
        return torch.full_like(luma, value).expand(-1, 2, -1, -1)

    return Painter(compiler(paint) if compiler else paint)


def ticking() -> Callable[[], float]:
    ticks = count()
    return lambda: float(next(ticks))


def rows(facts: Facts) -> list[bench.Row]:
    clip = bench.synthetic_clip(16, 24, 3)
    variants = {n: s for n, s in bench.VARIANTS.items() if n not in ("compile", "all")}
    return list(bench.measure("colormnet", build, facts, clip, variants=variants, clock=ticking()))


BF16 = Facts("cpu", "invented", 2**34, 2**34, "2.6", cpu_features=frozenset({"amx_bf16"}))


def test_errors_are_counted_against_the_baseline_of_the_same_frames() -> None:
    by_name = {row.variant: row for row in rows(BF16)}
    assert by_name["baseline"].error_max == 0.0
    assert by_name["precision"].effective["precision"] == "bf16"
    assert 0.3 < by_name["precision"].error_mean < 1.5
    assert by_name["precision"].gain == 1.0  # the clock ticks once a frame for all


def test_a_variant_that_changes_nothing_here_is_not_run_and_says_why() -> None:
    by_name = {row.variant: row for row in rows(BF16)}
    for name, reason in (
        ("sampler", "spatial-correlation-sampler is not installed"),
        ("sage", "sageattention is not installed"),
    ):
        row = by_name[name]
        assert row.seconds == 0.0
        assert row.why_not[0] == "the same as baseline here"
        assert any(reason in line for line in row.why_not)


def test_processor_time_stands_beside_the_clock_on_a_cpu() -> None:
    measured = [row for row in rows(BF16) if row.seconds]
    assert all(row.cpu_seconds > 0 and row.cpu_gain > 0 for row in measured)
    assert measured[0].cpu_gain == 1.0


def test_a_quick_bench_compiles_nothing_and_keeps_the_rest() -> None:
    quick = bench.without_compiling()
    assert set(bench.VARIANTS) - set(quick) == {"compile"}
    assert {asked.use_torch_compile for asked in quick.values()} == {"off"}


def test_columns_of_the_table_stand_below_their_names() -> None:
    head, *lines = bench.text(rows(BF16)).splitlines()
    for line in (line for line in lines if line.endswith(("fp32", "bf16"))):
        assert line.rindex(" ") < head.index("runs in")
        assert all(line[head.index(name) - 1] == " " for name in ("size", "variant", "runs in"))


def test_a_record_names_the_clip_and_where_weights_came_from() -> None:
    clip = bench.synthetic_clip(16, 24, 3)
    record = bench.to_json(rows(BF16), BF16, clip, {"colormnet": "filled.pth"})
    assert (record["clip"], record["frames"]) == ("synthetic", 3)
    assert record["weights"] == {"colormnet": "filled.pth"}


def test_text_json_and_plot_hold_every_variant(tmp_path: Path) -> None:
    measured = rows(BF16)
    table = bench.text(measured)
    assert table.count("not run") == 2
    assert "the same as baseline here" in table
    record = json.loads(json.dumps(bench.to_json(measured, BF16)))
    assert [row["variant"] for row in record["rows"]] == [
        "baseline",
        "precision",
        "sampler",
        "sage",
    ]
    bench.plot(measured, tmp_path / "bars.png")
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="expected at least one that was measured"):
        bench.plot([row for row in measured if not row.seconds], tmp_path / "none.png")


def test_the_demo_clip_is_cropped_to_the_aspect_and_never_stretched() -> None:
    """A 16:9 clip at 4:3: the middle of the frame stays the middle, at the same scale both ways."""
    demo = Path(__file__).resolve().parents[1] / "footage" / "demo"
    movie, still = demo / "bunny.mp4", demo / "bunny_exemplar.jpg"
    narrow = bench.footage_clip(movie, still, 48, 64, 2)
    wide = bench.footage_clip(movie, still, 48, 85, 2)
    assert narrow.size == (48, 64)
    assert len(narrow.lumas) == 2
    middle = wide.lumas[0][..., 10:74]
    assert float((middle - narrow.lumas[0]).abs().mean()) < 3.0
    assert float(narrow.exemplar.chroma.abs().mean()) > 1.0


def test_peak_memory_is_read_where_the_system_keeps_one() -> None:
    facts = probe("cpu")
    if facts.system != "Linux":
        pytest.skip("the peak is read from /proc")
    assert all(row.peak_bytes >= 0 for row in rows(facts))
