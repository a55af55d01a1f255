"""The bytes of every message are fixed: what one version writes every other reads."""

import json
from pathlib import Path

import pytest
from samples import SAMPLES

from host_plugins.wire.framing import decode, encode
from host_plugins.wire.messages import KINDS

GOLDEN = json.loads((Path(__file__).parent / "golden_bytes.json").read_text())


def test_every_kind_has_a_golden_message():
    assert {sample.kind for sample in SAMPLES} == set(KINDS)
    assert len(GOLDEN) == len(SAMPLES)


@pytest.mark.parametrize("number", range(len(SAMPLES)), ids=[s.kind for s in SAMPLES])
def test_a_message_has_its_golden_bytes(number):
    parts = [bytes(part).hex() for part in encode(SAMPLES[number])]
    assert parts == GOLDEN[number]["parts"]


@pytest.mark.parametrize("number", range(len(SAMPLES)), ids=[s.kind for s in SAMPLES])
def test_golden_bytes_are_read_as_their_message(number):
    parts = [bytes.fromhex(part) for part in GOLDEN[number]["parts"]]
    assert decode(parts) == SAMPLES[number]
