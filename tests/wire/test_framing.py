"""Malformed messages are refused with a code before anything is allocated for them."""

import tracemalloc

import msgpack
import pytest
from samples import LUMA, D, S

from host_plugins.wire import messages as m
from host_plugins.wire.buffers import Buffer, content_digest
from host_plugins.wire.errors import BridgeError
from host_plugins.wire.framing import decode, encode
from host_plugins.wire.limits import MAX_HEADER_BYTES, MAX_SIDE
from host_plugins.wire.version import MAGIC


def refusal(parts):
    with pytest.raises(BridgeError) as caught:
        decode(parts)
    return caught.value


def header(**fields):
    return [MAGIC, msgpack.packb(fields)]


def frame_header(**changes):
    buffer = {"n": "y", "dt": "<f2", "sh": [2, 3], "enc": "raw", "rn": 12, **changes}
    return msgpack.packb({"t": "frame", "s": S, "q": 0, "ep": 0, "fr": 1, "bufs": [buffer]})


def test_a_foreign_magic_is_refused():
    assert refusal([b"HTTP", b"\x80"]).code == "bad_header"
    assert refusal([b"", b"\x80"]).code == "bad_header"


def test_another_protocol_major_is_named():
    error = refusal([b"CBR\x02", b"\x80"])
    assert error.code == "version"
    assert "protocol 2" in error.message


@pytest.mark.parametrize("count", [0, 1, 11, 500])
def test_a_wrong_number_of_parts_is_refused(count):
    assert refusal([MAGIC] * count).code == "bad_header"


def test_a_header_over_its_limit_is_refused_before_it_is_read():
    assert refusal([MAGIC, b"\x80" * (MAX_HEADER_BYTES + 1)]).code == "too_big"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x81\xa1t",  # cut off
        b"\x80\x80",  # more behind it
        b"\x93\x01\x02\x03",  # a list
        msgpack.packb({1: "integer key"}),
        msgpack.packb({"t": msgpack.ExtType(5, b"x")}),
        b"\x81\xa1t\xd6\xff\x00\x00\x00\x01",  # a timestamp
        b"\x81\xa1t\xdd\xff\xff\xff\xff",  # 2^32 - 1 items claimed
        b"\x81\xa1t\xc6\xff\xff\xff\xff",  # 2^32 - 1 bytes claimed
        b"\x81\xa1t" + b"\x91" * 60000 + b"\x00",  # nested 60,000 deep
        b"\x81\xa1t\xa2\xff\xfe",  # not UTF-8
    ],
)
def test_a_header_that_is_no_plain_map_is_refused(body):
    assert refusal([MAGIC, body]).code == "bad_header"


def test_claimed_sizes_allocate_nothing():
    decode(encode(m.Ping(1)))
    tracemalloc.start()
    try:
        refusal([MAGIC, b"\x81\xa1t\xdd\xff\xff\xff\xff"])
        refusal([MAGIC, frame_header(sh=[MAX_SIDE, MAX_SIDE], rn=2 * MAX_SIDE**2), b"x"])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_an_unknown_kind_is_unsupported():
    assert refusal(header(t="teleport")).code == "unsupported"


def test_a_missing_field_is_named():
    error = refusal(header(t="ack", q=1))
    assert error.code == "bad_header"
    assert "'s'" in error.message


def test_unknown_fields_are_ignored_so_that_minors_can_add():
    assert decode(header(t="ping", i=3, colour="blue", extra=[1, {"a": None}])) == m.Ping(3)


@pytest.mark.parametrize(
    "fields",
    [
        {"t": "ack", "s": S, "q": -1},
        {"t": "ack", "s": S, "q": 2**64 - 1 + 0.0},
        {"t": "ack", "s": S, "q": True},
        {"t": "ack", "s": b"short", "q": 1},
        {"t": "ack", "s": "s" * 16, "q": 1},
        {"t": "describe", "effect": "e", "ctx": "transition"},
        {"t": "open", "effect": "e", "pr": 3},
        {"t": "open", "effect": "e", "x": [1]},
        {"t": "opened", "s": S, "ep": 0, "cr": [1]},
        {"t": "pong", "boot": S, "st": "x" * 5000},
    ],
)
def test_a_field_of_the_wrong_type_or_range_is_refused(fields):
    assert refusal(header(**fields)).code == "bad_header"


@pytest.mark.parametrize(
    "change",
    [
        {"n": "depth"},
        {"dt": ">f4"},
        {"dt": "O"},
        {"enc": "jpeg"},
        {"enc": "zip"},
        {"sh": [6]},
        {"sh": [1, 2, 3]},
        {"sh": [0, 6]},
        {"sh": [-2, -3]},
        {"sh": [2.0, 3]},
        {"sh": [MAX_SIDE + 1, 1]},
        {"rn": 11},
        {"rn": -12},
        {"rn": None},
        {"n": "file", "dt": "u1", "sh": [12], "enc": "raw"},
        {"n": "ab", "sh": [3, 2, 1]},
        {"n": "rgb", "sh": [1, 2, 4], "rn": 16},
    ],
)
def test_a_buffer_that_is_not_what_it_says_is_refused(change):
    assert refusal([MAGIC, frame_header(**change), bytes(12)]).code == "bad_header"


@pytest.mark.parametrize("body", [b"", bytes(11), bytes(13)])
def test_a_part_of_another_length_is_refused(body):
    error = refusal([MAGIC, frame_header(), body])
    assert error.code == "bad_header"
    assert "12 bytes" in error.message


def test_missing_and_surplus_parts_are_refused():
    assert refusal([MAGIC, frame_header()]).code == "bad_header"
    assert refusal([MAGIC, frame_header(), bytes(12), b""]).code == "bad_header"
    assert refusal([*encode(m.Ping(1)), b"pixels"]).code == "bad_header"


def test_a_wrong_byte_count_never_leaves_the_sender():
    short = Buffer("y", "<f2", (2, 3), b"short")
    with pytest.raises(BridgeError, match="12 bytes"):
        encode(m.Frame(S, 0, 0, 1, (short,)))


def test_pixels_are_views_on_the_received_part():
    part = bytearray(range(12))
    message = decode([*encode(m.Frame(S, 0, 0, 1, (LUMA,)))[:2], memoryview(part)])
    assert isinstance(message, m.Frame)
    part[0] = 99
    assert message.buffers[0].data[0] == 99


def test_messages_of_peers_are_shown_without_control_characters():
    error = refusal(header(t="describe", effect="e", ctx="\x1b[2J\n" + "x" * 500))
    assert "\x1b" not in error.message
    assert len(error.message) < 300


def test_an_exemplar_is_named_by_type_shape_and_bytes():
    one = Buffer("rgb", "u1", (1, 2, 3), bytes(6))
    other = Buffer("rgb", "u1", (2, 1, 3), bytes(6))
    assert content_digest(one) == content_digest(Buffer("rgb", "u1", (1, 2, 3), bytearray(6)))
    assert content_digest(one) != content_digest(other)
    assert len(content_digest(one)) == len(D)
