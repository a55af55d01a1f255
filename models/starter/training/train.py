"""Train the starter network from fetched sources, with checkpoints and resume.

    python -m models.starter.training.train --data DIR --run DIR [--steps N]
Same seed and steps: same weights. It uses one thread, and one process that makes the samples
(set OMP_NUM_THREADS=1). A run that is started again goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from models.starter.network import Starter
from models.starter.training.losses import Batch, forward, hit_rate, loss_of
from models.starter.training.synthesis import Sample, Stock, make_sample

log = logging.getLogger(__name__)
EMA_HALF = 50
VALIDATION = 4  # batches


@dataclass(frozen=True)
class Plan:
    """How to train. cooldown: the last steps, over which the rate falls to zero.

    visible_from: the step from which on errors of color are measured as they are seen.
    dyed_from: the step from which on scenes have gray, recolored and plain bodies too.
    """

    data: Path
    run: Path
    steps: int = 6000
    cooldown: int = 2000
    batch: int = 6
    size: int = 128
    rate: float = 1.2e-3
    warmup: int = 100
    ema: float = 0.998
    two_exemplars: float = 0.1
    visible_from: int = 1_000_000
    dyed_from: int = 1_000_000
    seed: int = 1
    save_every: int = 100
    validate_every: int = 250


class Scenes(Dataset[Sample]):
    """Sample number i is the same in every run with this seed."""

    def __init__(self, plan: Plan, start: int) -> None:
        self.plan, self.start = plan, start
        self.stock: Stock | None = None

    def __len__(self) -> int:
        return (self.plan.steps - self.start) * self.plan.batch

    def __getitem__(self, item: int) -> Sample:
        if self.stock is None:
            self.stock = Stock.load(self.plan.data, part="train")
        plan = self.plan
        step, place = divmod(item, plan.batch)
        step += self.start
        of_step = np.random.default_rng((plan.seed, 0, 0, step))
        count = 3 if of_step.random() < plan.two_exemplars else 2
        rng = np.random.default_rng((plan.seed, 1, 0, step, place))
        dyed = step >= plan.dyed_from
        return make_sample(self.stock, rng, plan.size, count, dyed=dyed)


def main(argv: list[str] | None = None) -> None:
    plan = _plan(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    plan.run.mkdir(parents=True, exist_ok=True)
    train(plan)


def train(plan: Plan) -> None:
    """Run to plan.steps; writes checkpoint.pt and log.jsonl into plan.run."""
    torch.set_num_threads(1)
    torch.manual_seed(plan.seed)
    network = Starter().to(memory_format=torch.channels_last).train()
    average = Starter()
    average.load_state_dict(network.state_dict())
    decay = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 1e-3}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.98))
    start = 0
    checkpoint = plan.run / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        network.load_state_dict(saved["network"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        start = int(saved["step"])
    loader = DataLoader(
        Scenes(plan, start),
        batch_size=plan.batch,
        num_workers=1,
        collate_fn=collate,
        prefetch_factor=6,
    )
    held_out = validation_batches(plan)
    began, seen = time.monotonic(), {}  # type: tuple[float, dict[str, float]]
    for step, batch in enumerate(loader, start):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, plan)
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
        with torch.autocast("cpu", torch.bfloat16):
            visible = step >= plan.visible_from
            loss, parts = loss_of(network, batch, generator=generator, visible=visible)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        _average(average, network, min(plan.ema, (step + 1) / (step + 1 + EMA_HALF)))
        for name, value in parts.items():
            seen[name] = 0.98 * seen.get(name, value) + 0.02 * value
        done = step + 1
        if done % plan.save_every == 0 or done == plan.steps:
            _save(checkpoint, done, network, average, optimizer)
            record: dict[str, Any] = {"step": done, "seconds": round(time.monotonic() - began)}
            record.update({name: round(value, 5) for name, value in seen.items()})
            if done % plan.validate_every == 0 or done == plan.steps:
                record.update(validate(average, held_out))
            with (plan.run / "log.jsonl").open("a") as file:
                file.write(json.dumps(record) + "\n")
            log.info("%s", record)


def rate_at(step: int, plan: Plan) -> float:
    """Up over the warm-up, level, then down to zero over the cooldown."""
    up = min(1.0, (step + 1) / plan.warmup)
    down = min(1.0, (plan.steps - step) / max(1, plan.cooldown))
    return plan.rate * up * down


def collate(samples: list[Sample]) -> Batch:
    pictures = np.stack([s.pictures for s in samples], 1)  # (P, B, 3, S, S)
    match = np.stack([s.match for s in samples], 1)
    known = torch.tensor([s.known for s in samples])
    return Batch(
        torch.from_numpy(pictures).flatten(0, 1),
        torch.from_numpy(match).flatten(0, 1),
        known.repeat(len(pictures)),
    )


def validation_batches(plan: Plan) -> list[Batch]:
    """Fixed scenes from photos, cut-outs and shots that training never sees."""
    stock = Stock.load(plan.data, part="held_out")
    rng = np.random.default_rng(12345)
    return [
        collate([make_sample(stock, rng, plan.size, 2) for _ in range(plan.batch)])
        for _ in range(VALIDATION)
    ]


@torch.no_grad()
def validate(network: Starter, batches: list[Batch]) -> dict[str, float]:
    """Mean ab error (CIE units) where the color is visible in the exemplar, and the hit rate."""
    network.eval()
    errors, hits = [], []
    for batch in batches:
        prediction, features, memory, truth = forward(network, batch)
        seen = (batch.match[..., 0] >= 0).any(1) | ~batch.known[:, None, None]
        error = torch.linalg.vector_norm((prediction.chroma - truth) * 50, dim=1)
        error = torch.nn.functional.avg_pool2d(error[:, None], 4)[:, 0]
        errors.append(float(error[seen].mean()))
        hits.append(float(hit_rate(features, memory, batch)))
    return {
        "held_out_ab": round(sum(errors) / VALIDATION, 3),
        "held_out_hits": round(sum(hits) / VALIDATION, 4),
    }


@torch.no_grad()
def _average(average: Starter, network: Starter, decay: float) -> None:
    own = average.state_dict()
    for name, value in network.state_dict().items():
        if value.dtype.is_floating_point:
            own[name].lerp_(value, 1 - decay)
        else:
            own[name].copy_(value)


def _save(
    path: Path, step: int, network: Starter, average: Starter, optimizer: torch.optim.Optimizer
) -> None:
    state: dict[str, int | dict[str, Tensor] | dict[str, Any]] = {
        "step": step,
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def _plan(argv: list[str] | None) -> Plan:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    for name, kind in (
        ("steps", int),
        ("cooldown", int),
        ("batch", int),
        ("size", int),
        ("rate", float),
        ("visible_from", int),
        ("dyed_from", int),
        ("seed", int),
        ("save_every", int),
    ):
        default = getattr(Plan, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default)
    return Plan(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    main()
