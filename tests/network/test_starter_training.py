"""Training the starter: scenes whose correspondences hold, the same run from the same seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models.starter import Starter, load_starter
from models.starter.training import train as training
from models.starter.training.export import export
from models.starter.training.losses import _huber, _visible_huber
from models.starter.training.synthesis import HIDDEN, Stock, _dyed, make_sample

SIZE = 64


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirteen smooth photos and cut-outs each: one of them is held out."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    for folder in ("photos", "cutouts", "clips"):
        (root / folder).mkdir()
    for number in range(13):
        small = rng.integers(0, 256, (9, 9, 3)).astype(np.float32)
        picture = np.clip(cv2.resize(small, (160, 160), interpolation=cv2.INTER_CUBIC), 0, 255)
        cv2.imwrite(str(root / "photos" / f"{number:02d}.png"), picture.astype(np.uint8))
        alpha = np.zeros((160, 160), np.uint8)
        cv2.circle(alpha, (80, 80), 60, 255, -1)
        cut = np.dstack((picture.astype(np.uint8), alpha))
        cv2.imwrite(str(root / "cutouts" / f"{number:02d}.png"), cut)
    return root


@pytest.fixture(scope="module")
def plan(data: Path) -> training.Plan:
    return training.Plan(
        data, Path(), steps=3, cooldown=1, batch=1, size=SIZE, warmup=1, save_every=1,
        validate_every=100, dyed_from=1, visible_from=2,
    )  # fmt: skip


@pytest.mark.parametrize("dyed", [False, True])
def test_a_sample_is_a_pure_function_of_its_seed(data: Path, dyed: bool) -> None:
    stock = Stock.load(data, part="train")
    one, same, other = (
        make_sample(stock, np.random.default_rng(seed), SIZE, 2, dyed=dyed) for seed in (5, 5, 6)
    )
    assert np.array_equal(one.pictures, same.pictures)
    assert np.array_equal(one.match, same.match)
    assert not np.array_equal(one.pictures, other.pictures)


@pytest.mark.parametrize("dyed", [False, True])
def test_matched_points_have_one_color(data: Path, dyed: bool) -> None:
    """Light and lens change a picture by itself, colors do not: chroma there and here agree."""
    stock = Stock.load(data, part="train")
    right, wrong = [], []
    for seed in range(12):
        sample = make_sample(stock, np.random.default_rng((seed, 1)), SIZE, 2, dyed=dyed)
        match = sample.match[0, 0]
        seen = match[..., 0] > HIDDEN
        here = sample.pictures[0, 1:, 1::4, 1::4].transpose(1, 2, 0)[seen]
        at = np.rint(match[seen]).astype(int)
        there = sample.pictures[1, 1:, at[:, 1], at[:, 0]]
        right.append(np.linalg.norm(here - there, axis=1))
        wrong.append(np.linalg.norm(here - there[::-1], axis=1))
    assert np.median(np.concatenate(right)) < 6
    assert np.median(np.concatenate(wrong)) > 12


def test_held_out_pictures_are_never_trained_on(data: Path) -> None:
    train, held_out = (Stock.load(data, part=part) for part in ("train", "held_out"))
    assert (len(train.photos), len(held_out.photos)) == (12, 1)
    assert not any(np.array_equal(held_out.photos[0][0], levels[0]) for levels in train.photos)


def test_dye_takes_or_turns_chroma_and_keeps_light_and_alpha() -> None:
    bgra = np.full((4, 4, 4), (100, 110, 130, 128), np.uint8)
    light = cv2.cvtColor(bgra[..., :3].astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
    gray = _dyed(bgra, 0.0, 1.0)
    lab = cv2.cvtColor(gray[..., :3] / np.float32(255), cv2.COLOR_BGR2LAB)
    assert np.abs(lab[..., 1:]).max() < 0.5
    assert np.abs(lab[..., 0] - light[..., 0]).max() < 0.5
    assert (gray[..., 3] == 128).all()
    turned = _dyed(bgra, 1.0, np.pi)
    lab = cv2.cvtColor(turned[..., :3] / np.float32(255), cv2.COLOR_BGR2LAB)
    assert np.abs(lab[..., 1:] + light[..., 1:]).max() < 1


def test_an_error_on_gray_weighs_more_than_on_strong_color() -> None:
    gray, strong = torch.zeros(1, 2, 8, 8), torch.full((1, 2, 8, 8), 1.0)
    weight = torch.ones(1, 1, 8, 8)
    off = torch.tensor((0.1, 0.1)).view(1, 2, 1, 1)
    assert _visible_huber(gray + off, gray, weight) > 2 * _visible_huber(
        strong + off, strong, weight
    )
    assert torch.isclose(_huber(gray + off, gray, weight), _huber(strong + off, strong, weight))


def test_a_run_that_was_stopped_ends_in_the_weights_of_an_unbroken_one(
    plan: training.Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = torch.get_num_threads()
    try:
        whole = replace(plan, run=tmp_path / "whole")
        whole.run.mkdir()
        training.train(whole)
        broken = replace(plan, run=tmp_path / "broken")
        broken.run.mkdir()
        save = training._save

        def save_and_stop(path: Path, step: int, *rest: object) -> None:
            save(path, step, *rest)  # type: ignore[arg-type]
            if step == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr(training, "_save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            training.train(broken)
        monkeypatch.setattr(training, "_save", save)
        training.train(broken)
    finally:
        torch.set_num_threads(threads)
    ends = [torch.load(run / "checkpoint.pt", weights_only=True) for run in (whole.run, broken.run)]
    for part in ("network", "average"):
        for name, value in ends[0][part].items():
            assert torch.equal(value, ends[1][part][name]), name
    packaged = tmp_path / "weights.safetensors"
    export(whole.run / "checkpoint.pt", packaged)
    assert torch.isfinite(load_starter(packaged).encode(torch.zeros(1, 1, 32, 32)).coarse).all()


def test_weights_that_do_not_fit_half_floats_are_not_exported(tmp_path: Path) -> None:
    network = Starter()
    with torch.no_grad():
        network.decoder.gate.weight.fill_(1e6)
    checkpoint = tmp_path / "checkpoint.pt"
    torch.save({"average": network.state_dict(), "step": 1}, checkpoint)
    with pytest.raises(ValueError, match="fit fp16"):
        export(checkpoint, tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()


def test_the_rate_rises_holds_and_falls_to_nothing(plan: training.Plan) -> None:
    long = replace(plan, steps=100, warmup=10, cooldown=20, rate=1.0)
    rates = [training.rate_at(step, long) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10:80] == [1.0] * 70
    assert rates[-1] == pytest.approx(0.05)
