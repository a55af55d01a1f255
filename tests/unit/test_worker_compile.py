"""Compilation as a client sees it: told while it goes on, eager where it fails, and said so."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from accel import compiling
from accel.device import Facts
from bridge_server.effects import registry
from bridge_server.effects.effect import Loaded, LoadRequest
from bridge_server.gate import Waker
from bridge_server.settings import Settings
from bridge_server.worker.compute import Compute
from bridge_server.worker.outbox import Outbox
from host_plugins.wire import messages as m
from host_plugins.wire.buffers import Buffer, content_digest
from models.lookup import LookupPropagator

SESSION = b"s" * 16
STILL = Buffer("rgb", "u1", (8, 8, 3), bytes(range(192)))
CPU = Facts("cpu", "x", 2**34, 2**33, "2.6", compiler="/usr/bin/g++")


class Brightened(LookupPropagator):
    """Its network is one function."""

    def __init__(self, network) -> None:
        super().__init__()
        self._network = network

    def step(self, luma, *, index, want_confidence=False):
        return super().step(self._network(luma), index=index, want_confidence=want_confidence)


def brighter(luma: torch.Tensor) -> torch.Tensor:
    return (luma * 1.25).clamp(0, 100)


def run(tmp_path, monkeypatch, asked: str, compile_function=None) -> list[m.Message]:
    def load(request: LoadRequest) -> Loaded:
        network = request.compiler(brighter) if request.compiler else brighter
        return Loaded(network, {"network": "planted"}, (), request.compiler)

    effect = replace(
        registry.EFFECTS["colormnet"],
        load=load,
        propagator=lambda loaded, values, memory: Brightened(loaded.networks),
        unavailable=lambda: None,
    )
    monkeypatch.setitem(registry.EFFECTS, "colormnet", effect)
    if compile_function is not None:
        monkeypatch.setattr(compiling, "_inductor", compile_function)
    monkeypatch.setattr(compiling, "use_cache", lambda directory: None)
    waker = Waker()
    outbox = Outbox(waker)
    worker = Compute(outbox, home=tmp_path, settings=asdict(Settings()))
    worker._planner._facts = CPU
    digest = content_digest(STILL)
    refs = ({"id": digest, "fr": None},)
    values = {"use_torch_compile": asked, "precision": "fp32"}
    worker.queue(m.Open("colormnet", values, refs, session=SESSION))
    worker.queue(m.Exemplar(SESSION, digest, (STILL,)))
    for q in range(3):
        luma = np.random.default_rng(q).integers(0, 255, (16, 24), dtype=np.uint8)
        worker.queue(m.Frame(SESSION, q, 0, q, (Buffer("y", "u1", (16, 24), luma.tobytes()),)))
    worker.queue(m.Stop())
    worker.run()
    waker.close()
    return [message for _, message in outbox.take()]


def colors(said: list[m.Message]) -> list[bytes]:
    return [bytes(x.buffers[0].data) for x in said if isinstance(x, m.Result)]


def events(said: list[m.Message]) -> list[tuple[str, object]]:
    told = [x for x in said if isinstance(x, m.Event) and x.name != "loading"]
    return [(x.name, x.data.get("code", x.data.get("use_torch_compile"))) for x in told]


def failing(function):
    def compiled(*args):
        raise RuntimeError("planted")

    return compiled


def wrong(function):
    return lambda *args: function(*args) + 1


@pytest.mark.parametrize(
    ("planted", "code"), [(failing, "compile_failed"), (wrong, "compile_mismatch")]
)
def test_a_compilation_that_fails_costs_a_warning_and_no_byte(tmp_path, monkeypatch, planted, code):
    eager = run(tmp_path / "a", monkeypatch, "off")
    said = run(tmp_path / "b", monkeypatch, "on", planted)
    assert colors(said) == colors(eager)
    assert events(eager) == []
    assert events(said) == [("compiling", None), ("compiled", code), ("effective", False)]
    degraded = [text for x in said if isinstance(x, m.Result) for text in x.degraded]
    assert len(degraded) == 1
    assert degraded[0].startswith(f"{code}: ")
    ready = next(x for x in said if isinstance(x, m.Ready))
    assert ready.effective["use_torch_compile"] is True  # what was to be; the event corrects it


def test_a_compilation_that_holds_is_told_before_the_first_frame(tmp_path, monkeypatch):
    calls: list[int] = []

    def counting(function):
        def compiled(*args):
            calls.append(1)
            return function(*args)

        return compiled

    said = run(tmp_path, monkeypatch, "on", counting)
    assert events(said) == [("compiling", None), ("compiled", "compiled")]
    kinds = [type(x) for x in said if isinstance(x, m.Event | m.Result)]
    assert kinds[-3:] == [m.Result] * 3
    assert len(calls) >= 3
    assert not any(x.degraded for x in said if isinstance(x, m.Result))
