"""Messages to parts and back: magic, header, then one raw part a buffer.

decode checks in the order of docs/protocol.md: number of parts, magic, header length, msgpack
limits, fields, shapes, byte counts. Nothing is allocated on a peer's word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgpack

from host_plugins.wire.buffers import Bytes, join
from host_plugins.wire.errors import BridgeError
from host_plugins.wire.limits import (
    MAX_BINARY,
    MAX_HEADER_BYTES,
    MAX_ITEMS,
    MAX_NESTING,
    MAX_PARTS,
    MAX_STRING,
)
from host_plugins.wire.messages import Message, from_map, to_map
from host_plugins.wire.version import MAGIC, PROTOCOL_MAJOR


def encode(message: Message) -> list[Bytes]:
    """The parts of a message, pixel data uncopied. Raises BridgeError when it breaks a limit."""
    header: bytes = msgpack.packb(to_map(message), use_bin_type=True)
    if len(header) > MAX_HEADER_BYTES:
        raise BridgeError(
            "too_big", f"expected a header of at most {MAX_HEADER_BYTES} bytes, got {len(header)}"
        )
    parts: list[Bytes] = [MAGIC, header]
    specs = message.payload
    join(specs, [buffer.data for buffer in specs])  # a wrong byte count never leaves this side
    parts.extend(buffer.data for buffer in specs)
    return parts


def decode(parts: Sequence[Bytes]) -> Message:
    """The message in these parts; its buffers are views on them.

    Raises BridgeError: `version` for another protocol major, `bad_header`, `too_big`,
    `unsupported`.
    """
    if not 2 <= len(parts) <= MAX_PARTS:
        raise BridgeError("bad_header", f"expected 2 to {MAX_PARTS} parts, got {len(parts)}")
    magic = bytes(parts[0][:8])
    if magic != MAGIC:
        if len(magic) == 4 and magic[:3] == MAGIC[:3]:
            raise BridgeError(
                "version", f"expected protocol {PROTOCOL_MAJOR}, got protocol {magic[3]}"
            )
        raise BridgeError("bad_header", "expected a ChromaBridge message, got something else")
    if len(parts[1]) > MAX_HEADER_BYTES:
        raise BridgeError(
            "too_big", f"expected a header of at most {MAX_HEADER_BYTES} bytes, got {len(parts[1])}"
        )
    message = from_map(_unpack(bytes(parts[1])))
    if not message.carries_buffers:
        if len(parts) != 2:
            raise BridgeError(
                "bad_header", f"{message.kind}: expected no pixel parts, got {len(parts) - 2}"
            )
        return message
    return replace(message, buffers=join(message.payload, parts[2:]))  # type: ignore[call-arg]


def _unpack(header: bytes) -> dict[str, Any]:
    try:
        unpacked = msgpack.unpackb(
            header,
            raw=False,
            strict_map_key=True,
            max_str_len=MAX_STRING,
            max_bin_len=MAX_BINARY,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            max_ext_len=0,
        )
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise BridgeError(
            "bad_header", f"expected a msgpack map as header, got: {str(error)[:80]}"
        ) from None
    if not isinstance(unpacked, dict) or not _is_plain(unpacked, MAX_NESTING):
        raise BridgeError(
            "bad_header", f"expected a map nested at most {MAX_NESTING} deep, of plain values"
        )
    return unpacked


def _is_plain(value: object, depth: int) -> bool:
    if isinstance(value, (list, dict)):
        if depth == 0:
            return False
        items = value.values() if isinstance(value, dict) else value
        keys_fit = not isinstance(value, dict) or all(type(k) is str for k in value)
        return keys_fit and all(_is_plain(item, depth - 1) for item in items)
    return value is None or isinstance(value, (bool, int, float, str, bytes))
