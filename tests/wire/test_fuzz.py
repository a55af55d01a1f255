"""No bytes crash the decoder or make it raise anything but a BridgeError with a known code."""

import pytest

pytest.importorskip("hypothesis", reason="hypothesis is not installed for this interpreter")

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import SAMPLES

from host_plugins.wire.errors import CODES, BridgeError
from host_plugins.wire.framing import decode, encode
from host_plugins.wire.messages import KINDS, Message
from host_plugins.wire.version import MAGIC

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=20,
)


def survives(parts):
    try:
        message = decode(parts)
    except BridgeError as error:
        refused = error
    else:
        assert isinstance(message, Message)
        assert decode(encode(message)) == message or message != message  # a NaN is not itself
        return
    assert refused.code in CODES
    assert len(refused.message) < 500


FIELDS = ("s", "q", "ep", "fr", "cr", "ack", "bufs", "i", "p", "c", "n", "x", "d", "ctx")
MORE_FIELDS = ("effect", "params", "need", "boot", "want", "eff", "tm", "k")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=14))
def test_any_parts_are_survived(parts):
    survives(parts)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.lists(st.binary(max_size=32), max_size=9))
def test_any_header_bytes_are_survived(body, parts):
    survives([MAGIC, body, *parts])


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)),
    st.dictionaries(
        st.sampled_from(FIELDS + MORE_FIELDS),
        plain,
        max_size=10,
    ),
    st.lists(st.binary(max_size=32), max_size=3),
)
def test_known_kinds_with_any_fields_are_survived(kind, fields, parts):
    survives([MAGIC, msgpack.packb({"t": kind, **fields}), *parts])


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_flipped_bytes_are_survived(sample, data):
    parts = [bytearray(part) for part in encode(sample)]
    part = parts[data.draw(st.integers(0, len(parts) - 1))]
    if part:
        part[data.draw(st.integers(0, len(part) - 1))] ^= data.draw(st.integers(1, 255))
    survives([bytes(part) for part in parts])
