"""The effect `deep_exemplar` in a worker: a clip and a still, its look, its refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import deep_exemplar_recipe as recipe
import numpy as np
import pytest

from accel import compiling
from accel.device import Facts
from bridge_server import weights
from bridge_server.effects import registry
from bridge_server.gate import Waker
from bridge_server.settings import Settings
from bridge_server.worker.compute import Compute
from bridge_server.worker.outbox import Outbox
from host_plugins.wire import messages as m
from host_plugins.wire.buffers import Buffer, content_digest
from models.deep_exemplar import networks

SESSION = b"s" * 16
H, W = 44, 60  # of no network's multiple
CPU = Facts("cpu", "x", 2**34, 2**33, "2.6")
STILL = Buffer("rgb", "u1", (H, W, 3), recipe.rgb_frame(0, H, W, seed=3, colored=True).tobytes())


class Found:
    """The three official files, as if they were installed."""

    files: Mapping[str, Path] = dict.fromkeys(("vgg19_conv", "nonlocal_net", "colornet"), Path("x"))

    def made_by(self) -> dict[str, str]:
        return {"license": "MIT"}


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs one session of the effect; frames: how many. Returns what the worker said."""
    monkeypatch.setattr(weights, "find", lambda *_, **__: Found())
    monkeypatch.setattr(networks, "load_networks", lambda *_, **__: recipe.networks())
    monkeypatch.setattr(compiling, "use_cache", lambda directory: None)
    effect = replace(registry.EFFECTS["deep_exemplar"], unavailable=lambda: None)
    monkeypatch.setitem(registry.EFFECTS, "deep_exemplar", effect)

    def run(frames: int, **values: object) -> list[m.Message]:
        waker = Waker()
        outbox = Outbox(waker)
        compute = Compute(outbox, home=tmp_path, settings=asdict(Settings()))
        compute._planner._facts = CPU
        digest = content_digest(STILL)
        refs = ({"id": digest, "fr": None},)
        compute.queue(m.Open("deep_exemplar", values, refs, session=SESSION))
        compute.queue(m.Exemplar(SESSION, digest, (STILL,)))
        for q in range(frames):
            luma = recipe.rgb_frame(q, H, W, seed=1)[..., 1].tobytes()
            compute.queue(m.Frame(SESSION, q, 0, q, (Buffer("y", "u1", (H, W), luma),)))
        compute.queue(m.Stop())
        compute.run()
        waker.close()
        return [message for _, message in outbox.take()]

    return run


def chroma(said: list[m.Message]) -> list[np.ndarray]:
    results = [message for message in said if isinstance(message, m.Result)]
    return [np.frombuffer(bytes(r.buffers[0].data), np.float16).astype(float) for r in results]


def test_a_clip_and_a_still_run_and_the_official_look_is_a_quarter_more_color(worker) -> None:
    clip = chroma(worker(2, edge_strength=0.0))
    still = chroma(worker(1, edge_strength=0.0))
    assert [plane.size for plane in clip] == [2 * H * W] * 2
    assert np.array_equal(still[0], clip[0])
    assert not np.array_equal(clip[0], clip[1])
    for half in (True, False):  # as much at either working scale
        own = {"edge_strength": 0.0, "use_half_resolution": half}
        plain = clip[0] if half else chroma(worker(1, **own))[0]
        official = chroma(worker(1, **own, official_look=True, saturation=1.6))[0]
        np.testing.assert_allclose(official, 2 * plain, rtol=2e-3, atol=0.01)


def test_sage_attention_is_answered_with_the_reason_and_cannot_be_required(worker) -> None:
    said = worker(1, use_sage_attention=True)
    assert len(chroma(said)) == 1
    ready = next(message for message in said if isinstance(message, m.Ready))
    assert "no attention layer that SageAttention could take" in str(ready)
    refused = worker(0, require="sage")
    error = next(message for message in refused if isinstance(message, m.Error))
    assert error.code == "accelerator_required"
    assert "no layer of this network is such an attention" in error.message
    assert not any(isinstance(message, m.Opened) for message in refused)


def test_the_effect_offers_what_the_network_takes() -> None:
    described = {p.name: p.default for p in registry.EFFECTS["deep_exemplar"].params}
    expected = {
        "propagate": True,
        "first_frame_is_exemplar": False,
        "use_half_resolution": True,
        "smooth": False,
        "saturation": 1.0,
        "official_look": False,
        "working_size": 768,
        "use_sage_attention": False,
        "use_torch_compile": "off",
        "precision": "fp32",
    }
    assert {name: described[name] for name in expected} == expected
