"""The quality benchmark's metrics against scikit-image and against published values."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "quality_metrics.py"


@pytest.fixture(scope="module")
def metrics() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quality_metrics", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    smooth = np.cumsum(rng.normal(0, 6, (37, 41, 3)), 0) + 128
    first = np.clip(smooth, 0, 255).astype(np.uint8)
    second = np.clip(smooth + rng.normal(0, 25, smooth.shape), 0, 255).astype(np.uint8)
    return first, second


def test_ssim_is_that_of_scikit_image(metrics: ModuleType, pair: tuple) -> None:
    expected = structural_similarity(*pair, channel_axis=2, data_range=255)
    assert metrics.ssim(*pair) == pytest.approx(expected, abs=1e-9)


def test_lab_is_that_of_scikit_image(metrics: ModuleType, pair: tuple) -> None:
    assert np.abs(metrics.to_lab(pair[0]) - rgb2lab(pair[0])).max() < 1e-4


def test_ciede2000_is_that_of_scikit_image(metrics: ModuleType) -> None:
    rng = np.random.default_rng(3)
    labs = rng.uniform((0, -100, -100), (100, 100, 100), (2, 500, 3))
    labs[:, :20, 1:] = 0  # grays
    ours = metrics.ciede2000(labs[0], labs[1])
    assert np.abs(ours - deltaE_ciede2000(labs[0], labs[1])).max() < 1e-6


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [  # Sharma, Wu and Dalal 2005, table 1: pairs 1, 7, 10, 17 and 25
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
        ((50, 2.5, 0), (73, 25, -18), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ],
)
def test_ciede2000_gives_the_published_values(
    metrics: ModuleType, first: tuple, second: tuple, expected: float
) -> None:
    got = float(metrics.ciede2000(np.array(first, float), np.array(second, float)))
    assert got == pytest.approx(expected, abs=1e-4)


def test_psnr_does_not_wrap_at_eight_bits(metrics: ModuleType) -> None:
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert metrics.psnr(black, white) == 0.0
    assert metrics.psnr(black, black) == math.inf


def test_colorfulness_of_gray_is_zero_and_of_one_hue_is_its_offset(metrics: ModuleType) -> None:
    gray = np.full((3, 3, 3), 90, np.uint8)
    red = np.zeros((3, 3, 3), np.uint8)
    red[..., 0] = 100
    assert metrics.colorfulness(gray) == 0
    assert metrics.colorfulness(red) == pytest.approx(0.3 * math.hypot(100, 50))


def test_cdc_sees_colors_that_change_and_not_pixels_that_move(metrics: ModuleType) -> None:
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    moving = [np.roll(frame, i, axis=1) for i in range(6)]
    assert metrics.cdc(moving) == 0
    other = [frame // (1 + i % 2) for i in range(6)]
    apart = metrics.cdc(other)  # gap 1 differs, gaps 2 and 4 do not
    assert 0 < apart <= math.log(2) / 3


def test_temporal_error_ignores_a_constant_offset(metrics: ModuleType) -> None:
    rng = np.random.default_rng(2)
    truth = [rng.normal(0, 20, (5, 5, 3)) for _ in range(4)]
    assert metrics.temporal_error(truth, [t + 3 for t in truth]) == pytest.approx(0)
    still = [truth[0]] * 4
    assert metrics.flicker(still, [t + i % 2 for i, t in enumerate(still)]) == pytest.approx(1)
