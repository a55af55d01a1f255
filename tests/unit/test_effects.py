"""What effects say of themselves, and what they make of what a host asks."""

from __future__ import annotations

import subprocess
import sys

import msgpack
import pytest

from bridge_server.effects import registry
from bridge_server.effects.descriptor import Param
from bridge_server.effects.performance import required, switches_of
from host_plugins.wire import messages as m
from host_plugins.wire.errors import BridgeError
from host_plugins.wire.framing import decode, encode


@pytest.mark.parametrize("name", list(registry.EFFECTS))
@pytest.mark.parametrize("context", ["filter", "general"])
def test_a_descriptor_travels_as_it_is(name, context):
    told = registry.find(name).describe_in_context(context).to_map()
    message = m.Described(name, told, 1)
    assert decode(encode(message)) == message
    assert len(msgpack.packb(told)) < 60_000


@pytest.mark.parametrize("name", list(registry.EFFECTS))
def test_defaults_pass_their_own_checks(name):
    descriptor = registry.find(name).describe_in_context("filter")
    values = descriptor.effective({})
    assert descriptor.effective(values) == values
    groups = {group.name for group in descriptor.groups}
    names = {param.name for param in descriptor.params}
    assert len(names) == len(descriptor.params)
    for param in descriptor.params:
        assert param.group in groups
        assert param.enabled_by is None or param.enabled_by[0] in names
        assert len(param.labels) in (0, len(param.choices))


def refused(param: Param, value: object) -> str:
    with pytest.raises(BridgeError) as caught:
        param.check(value)
    assert param.name in caught.value.message
    return caught.value.code


def test_values_of_the_wrong_kind_or_range_are_refused_by_name():
    whole = Param("n", "int", "", "", 3, low=1, high=9)
    assert whole.check(4.0) == 4
    assert type(whole.check(4.0)) is int
    for value in (0, 10, 4.5, True, "4", None, float("nan"), float("inf")):
        assert refused(whole, value) == "bad_param"
    number = Param("x", "double", "", "", 1.0, low=0, high=2)
    assert number.check(1) == 1.0
    for value in (-0.1, 2.1, False, "1", float("nan")):
        assert refused(number, value) == "bad_param"
    choice = Param("c", "choice", "", "", "a", choices=("a", "b"))
    for value in ("c", 0, None, ["a"], ""):
        assert refused(choice, value) == "bad_param"
    assert refused(Param("b", "bool", "", "", True), 1) == "bad_param"
    assert refused(Param("s", "string", "", "", ""), 1) == "bad_param"


def test_the_baseline_is_never_offered_and_the_starter_always_is():
    assert "lookup" not in registry.offered()
    assert "starter" in registry.offered()


def test_effects_that_cannot_run_come_last_and_say_why(monkeypatch, tmp_path):
    monkeypatch.setenv("CHROMABRIDGE_HOME", str(tmp_path))
    codes = {
        name: error.code
        for name in registry.offered()
        if (error := registry.find(name).unavailable()) is not None
    }
    assert codes["colormnet"] == "license_required"
    assert codes["deep_exemplar"] == "weights_missing"


def test_wishes_for_accelerators_become_switches():
    values = (
        registry.find("colormnet")
        .describe_in_context("filter")
        .effective({"precision": "bf16", "require": "sage, compile"})
    )
    assert switches_of(values)["precision"] == "bf16"
    assert required(values) == ("sage", "compile")


def test_the_front_never_imports_torch():
    script = "import bridge_server.front.process, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0
