"""ColorMNet against recorded outputs of the official network, with filled weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from colormnet_clips import chroma, luma
from colormnet_oracle import Network
from colormnet_oracle_clip import Memory, Oracle
from fill_weights import make
from torch import Tensor

from models.colormnet.config import FAST, ColorMNetSettings, MemorySettings
from models.colormnet.network import ColorMNet, build
from models.colormnet.propagator import ColorMNetPropagator
from models.propagator import Exemplar
from models.weights import WeightsMismatch

GOLDEN = Path(__file__).parent / "golden"
FRAMES = {"default": 7, "longterm": 10, "exemplar": 3}  # longterm: 4 compressions, 2 evictions
# Largest relative error of a stage: rounding grows through the encoder's channel attention.
STAGE_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return make(json.loads((GOLDEN / "colormnet_state_dict.json").read_text()))


@pytest.fixture(scope="module")
def network(tensors: dict[str, Tensor]) -> ColorMNet:
    return build(tensors, source="filled weights")


def read(case: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with np.load(GOLDEN / f"colormnet_{case}.npz", allow_pickle=False) as file:
        return json.loads(str(file["meta"])), {k: file[k] for k in file.files if k != "meta"}


def shot(network: ColorMNet, meta: dict[str, Any]) -> ColorMNetPropagator:
    case, config = meta["case"], meta["config"]
    names = {"enable_long_term": "long_term", "enable_long_term_count_usage": ""}
    constants = {names.get(k, k): v for k, v in config.items() if names.get(k, k)}
    own = case["mode"] == "first"
    settings = ColorMNetSettings(MemorySettings(**constants), first_frame_is_exemplar=own)
    propagator = ColorMNetPropagator(network, settings)
    height, width, seed = case["h"], case["w"], case["ex_seed"]
    colors = chroma(height, width, 0, seed)
    propagator.begin([Exemplar(luma(height, width, 0, seed), colors, 0 if own else None)])
    return propagator


class Recorder:
    """Keeps what passes through the network's parts on one frame."""

    def __init__(self, network: ColorMNet) -> None:
        self.stages: dict[str, Tensor] = {}
        parts: dict[str, tuple[torch.nn.Module, Callable[[Any, Any], dict[str, Tensor]]]] = {
            "dino": (network.key_encoder.network2, lambda i, o: {"dino": o}),
            "features": (network.key_encoder, lambda i, o: o._asdict()),
            "key": (network.key_proj, lambda i, o: o._asdict()),
            "local": (network.short_term_attn, lambda i, o: {"local": o}),
            "decoder": (
                network.decoder,
                lambda i, o: {
                    "readout": i[1],
                    "hidden_in": i[2],
                    "logits_quarter": o[1][:, 0],
                    "hidden_out": o[2],
                },
            ),
            "value": (network.value_encoder, lambda i, o: {"value": o}),
        }
        self.handles = [
            module.register_forward_hook(self._keeper(pick)) for module, pick in parts.values()
        ]

    def _keeper(self, pick: Callable[[Any, Any], dict[str, Tensor]]) -> Callable[..., None]:
        def keep(_: Any, inputs: Any, output: Any) -> None:
            for name, tensor in pick(inputs, output).items():
                if name == "value" or name not in self.stages:  # an exemplar's value comes first,
                    self.stages[name] = tensor  # but its features after the frame's

        return keep

    def close(self) -> dict[str, Tensor]:
        for handle in self.handles:
            handle.remove()
        local = self.stages.pop("local", None)
        readout = self.stages.pop("readout")
        if local is not None:
            planes = local.view(*readout.shape[2:], 2, -1).permute(2, 3, 0, 1)
            self.stages["local_readout"] = planes
            self.stages["memory_readout"] = readout - planes
        else:
            self.stages["memory_readout"] = readout
        return self.stages


@pytest.mark.parametrize("case", ["default", "longterm", "exemplar"])
def test_a_clip_equals_the_official_networks(network: ColorMNet, case: str) -> None:
    meta, data = read(case)
    propagator, stride = shot(network, meta), meta["ab_stride"]
    height, width, seed = (meta["case"][k] for k in ("h", "w", "seed"))
    greatest, mean = meta["tol"]
    stages: dict[str, Tensor] = {}
    for t in range(FRAMES[case]):
        recorder = Recorder(network) if t == meta["stage_frame"] else None
        step = propagator.step(luma(height, width, t, seed), index=t)
        if recorder is not None:
            stages = recorder.close()
        error = np.abs(step.chroma[0, :, ::stride, ::stride].numpy() / 110.0 - data["ab"][t])
        assert error.max() < greatest / 2, f"frame {t}"
        assert error.mean() < mean / 2, f"frame {t}"
        if t < meta["case"]["frames"] - 1:  # upstream stores nothing on a clip's last frame
            assert list(propagator.memory_sizes) == meta["memory_sizes_after_frame"][t]
    compared = [n for n in meta["channel_stride"] if n in data and n in stages]
    assert len(compared) >= 9
    for name in compared:
        if name == "value" and meta["value_frame"] != meta["stage_frame"]:
            continue
        expected = torch.from_numpy(data[name])
        got = stages[name]
        if got.ndim == 4:
            got = got[:, :: meta["channel_stride"][name]]
        error, size = float((got - expected).norm()), float(expected.norm())
        assert error <= STAGE_TOLERANCE * size, f"{case} {name}: {error:.1e} of {size:.1e}"


def test_the_plain_reading_equals_the_official_network_too(tensors: dict[str, Tensor]) -> None:
    meta, data = read("default")
    stride = meta["ab_stride"]
    oracle = Oracle(Network(tensors), Memory())
    oracle.step(_image(luma(112, 168, 0)), None, chroma(112, 168, 0)[0] / 110.0)
    got = oracle.step(_image(luma(112, 168, 1)))[:, ::stride, ::stride].numpy()
    assert np.abs(got - data["ab"][1]).max() < 2e-5


def _image(frame: Tensor) -> Tensor:
    """(1, 1, H, W), CIE L -> (3, H, W)."""
    return ((frame[0] - 50.0) / 50.0).expand(3, -1, -1)


def test_short_formats_stay_close_and_similarities_stay_float32(
    network: ColorMNet, tensors: dict[str, Tensor]
) -> None:
    meta, data = read("default")
    fast = build(tensors, source="filled weights", precision=FAST)
    propagator = shot(fast, meta)
    squares = []
    for t in range(4):
        step = propagator.step(luma(112, 168, t), index=t)
        assert step.chroma.dtype == torch.float32
        error = step.chroma[0, :, ::2, ::2].numpy() / 110.0 - data["ab"][t]
        squares.append((error**2).mean())
    assert 10.0 * np.log10(4.0 / np.mean(squares)) > 40.0  # dB, peak 2
    assert fast.encode(torch.zeros(1, 1, 112, 112))[1].key.dtype == torch.float32


def test_the_state_dict_is_the_official_one(network: ColorMNet) -> None:
    spec = json.loads((GOLDEN / "colormnet_state_dict.json").read_text())
    expected = {k: tuple(v[0]) for k, v in spec.items() if not k.startswith("_")}
    assert {k: tuple(t.shape) for k, t in network.state_dict().items()} == expected


def test_a_wrong_checkpoint_names_what_is_missing(tensors: dict[str, Tensor]) -> None:
    wrong = {k: t for k, t in tensors.items() if k != "decoder.pred.bias"}
    with pytest.raises(WeightsMismatch, match=r"decoder\.pred\.bias"):
        build(wrong, source="broken.pth")


def test_a_checkpoint_without_the_other_planes_channel_gets_zeros(
    tensors: dict[str, Tensor],
) -> None:
    old = dict(tensors)
    old["value_encoder.conv1.weight"] = tensors["value_encoder.conv1.weight"][:, :4]
    weight = build(old, source="old.pth").value_encoder.conv1.weight
    assert weight.shape[1] == 5
    assert not weight[:, 4].any()
