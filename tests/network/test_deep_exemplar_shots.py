"""Deep Exemplar's propagator against whole shots of the published driver (recipe's weights)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import deep_exemplar_recipe as recipe
import numpy as np
import pytest
import torch
from skimage import color
from torch import Tensor

from models.deep_exemplar.config import OFFICIAL_LOOK_SATURATION, DeepExemplarSettings
from models.deep_exemplar.networks import stages
from models.deep_exemplar.propagator import DeepExemplarPropagator
from models.propagator import Exemplar

GREATEST = 2e-2  # on the ab scale; a rearranged but correct float32 network is within 8e-3
CLIP_EXEMPLAR = recipe.rgb_frame(0, 96, 160, seed=3, colored=True)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parent / "golden" / "deep_exemplar_shots.npz") as file:
        return dict(file)


def full_size(**settings: object) -> DeepExemplarPropagator:
    """A propagator whose networks run at working size."""
    chosen = DeepExemplarSettings(use_half_resolution=False, **settings)  # type: ignore[arg-type]
    return DeepExemplarPropagator(stages(recipe.networks()), chosen)


def colored(
    propagator: DeepExemplarPropagator, exemplars: Sequence[Exemplar], lumas: Sequence[Tensor]
) -> list[Tensor]:
    propagator.begin(exemplars)
    return [propagator.step(luma, index=t).chroma for t, luma in enumerate(lumas)]


def near(chroma: Tensor, expected: np.ndarray, unit: int, greatest: float = GREATEST) -> None:
    """expected: whole numbers of 1 / unit of an ab step, every second column."""
    got = chroma[0, :, :, ::2].numpy()
    assert got.shape == expected.shape
    assert np.abs(got - expected / unit).max() <= greatest


def test_a_propagated_clip_is_the_published_one(golden) -> None:
    lumas = [recipe.luma(t, 96, 160, seed=1) for t in range(5)]
    frames = colored(full_size(), [recipe.exemplar(CLIP_EXEMPLAR)], lumas)
    for frame, expected in zip((0, 1, 4), golden["clip_ab_x128"], strict=True):
        near(frames[frame], expected, 128)


def test_without_propagation_every_frame_starts_from_zeros(golden) -> None:
    lumas = [recipe.luma(t, 96, 160, seed=1) for t in (1, 2)]
    frames = colored(full_size(propagate=False), [recipe.exemplar(CLIP_EXEMPLAR)], lumas)
    near(frames[1], golden["clip_independent_ab_frame2_x128"], 128)


def test_first_frame_as_exemplar_starts_from_its_colors(golden) -> None:
    exemplar = recipe.exemplar(recipe.rgb_frame(0, 96, 160, seed=1))
    lumas = [recipe.luma(t, 96, 160, seed=1) for t in range(3)]
    frames = colored(full_size(first_frame_is_exemplar=True), [exemplar], lumas)
    near(frames[0], golden["clip_first_frame_ab_frame0_x128"], 128)
    near(frames[2], golden["clip_first_frame_ab_frame2_x128"], 128)


def test_heights_of_8_mod_16_repeat_rows_as_published(golden) -> None:
    lumas = [recipe.luma(t, 72, 96, seed=2) for t in range(2)]
    exemplar = recipe.exemplar(recipe.rgb_frame(0, 72, 96, seed=5, colored=True))
    for chroma, expected in zip(
        colored(full_size(), [exemplar], lumas), golden["pad8_ab_x128"], strict=True
    ):
        near(chroma, expected, 128)
    soft = colored(full_size(temperature=0.01), [exemplar], lumas[:1])
    # A rounding of the exemplar's RGB by one last digit moves a cosine by 2e-6, which the division
    # by 0.01 turns into 0.08 in chroma; the hard match does not feel it.
    near(soft[0], golden["pad8_T1e-2_ab_x128"], 128, greatest=0.1)


def test_half_resolution_smoother_and_saturation_give_the_published_video(golden) -> None:
    frames = [
        recipe.crop_resized(recipe.rgb_frame(t, 120, 200, seed=4), 160, 224) for t in range(2)
    ]
    still = recipe.crop_resized(recipe.rgb_frame(0, 150, 130, seed=6, colored=True), 160, 224)
    sums = [int(picture.astype(np.int64).sum()) for picture in (*frames, still)]
    assert sums == golden["video_padded_sums"].tolist()

    labs = [recipe.lab(frame) for frame in frames]
    propagator = DeepExemplarPropagator(
        stages(recipe.networks()), DeepExemplarSettings(smooth=True)
    )
    chroma = colored(propagator, [recipe.exemplar(still)], [lab[:, :1] for lab in labs])[1]
    near(
        propagator.save_state().tensors["previous"][:, 1:], golden["video_ab_half_frame1_x128"], 128
    )
    chroma = chroma * OFFICIAL_LOOK_SATURATION
    near(chroma, golden["video_ab_smoothed_frame1_x256"], 256)
    joined = torch.cat((labs[1][:, :1], chroma), 1)[0].permute(1, 2, 0).double().numpy()
    rgb = (np.clip(color.lab2rgb(joined), 0, 1) * 255).astype(np.uint8)
    assert np.abs(rgb[:, ::2].astype(int) - golden["video_rgb_frame1"].astype(int)).max() <= 1
