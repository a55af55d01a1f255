"""Pixel parts: what a buffer says of itself, checked before its bytes are touched."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Union

from host_plugins.wire import fields as f
from host_plugins.wire.errors import BridgeError
from host_plugins.wire.limits import MAX_BUFFERS, MAX_DATA_PART_BYTES

#: numpy's own spelling of the sample types that may travel, with their sizes in bytes
ITEM_BYTES = {"u1": 1, "<u2": 2, "<f2": 2, "<f4": 4}
#: plane name -> number of dimensions: y (H, W), ab (2, H, W), rgb (H, W, 3), confidence (H, W)
PLANES = {"y": 2, "ab": 3, "rgb": 3, "confidence": 2, "file": 1}
#: a file travels as its own bytes, in plane "file"
FILE_ENCODINGS = ("exr", "tiff", "dpx", "png", "jpeg")
ENCODINGS = ("raw", *FILE_ENCODINGS)

Bytes = Union[bytes, bytearray, memoryview]


@dataclass(frozen=True)
class Buffer:
    """One pixel part.

    name: a key of PLANES. dtype: a key of ITEM_BYTES. shape: as PLANES says. encoding: raw, or a
    file format when name is "file" (then dtype is u1 and shape is (byte count,)). data: the bytes,
    C order, top row first; empty until the part is joined to its spec.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: Bytes = b""
    encoding: str = "raw"

    @property
    def nbytes(self) -> int:
        """How many bytes the data must have."""
        count = ITEM_BYTES[self.dtype]
        for length in self.shape:
            count *= length
        return count

    def spec(self) -> dict[str, Any]:
        """The map that describes this buffer in a header."""
        return {
            "n": self.name,
            "dt": self.dtype,
            "sh": list(self.shape),
            "enc": self.encoding,
            "rn": self.nbytes,
        }


def content_digest(buffer: Buffer) -> bytes:
    """BLAKE2b-256 over type, shape and bytes: the name that a picture is known by on the wire."""
    told = f"{buffer.name}|{buffer.dtype}|{buffer.encoding}|{','.join(map(str, buffer.shape))}|"
    name = hashlib.blake2b(told.encode(), digest_size=32)
    name.update(buffer.data)
    return name.digest()


def buffer_specs(name: str, value: Any) -> tuple[Buffer, ...]:
    """Check the list of buffer maps of a header and return buffers without data."""
    if not isinstance(value, (list, tuple)) or len(value) > MAX_BUFFERS:
        raise f.bad(name, f"a list of at most {MAX_BUFFERS} buffers", value)
    return tuple(_buffer(f"{name}[{i}]", item) for i, item in enumerate(value))


def _buffer(where: str, value: Any) -> Buffer:
    spec = f.plain_map(where, value)
    name = f.one_of(*PLANES)(f"{where}.n", spec.get("n"))
    dtype = f.one_of(*ITEM_BYTES)(f"{where}.dt", spec.get("dt"))
    encoding = f.one_of(*ENCODINGS)(f"{where}.enc", spec.get("enc"))
    is_file = name == "file"
    if is_file != (encoding in FILE_ENCODINGS) or (is_file and dtype != "u1"):
        raise f.bad(f"{where}.enc", "raw planes, or plane 'file' of u1 in a file format", encoding)
    length = f.integer(1, MAX_DATA_PART_BYTES) if is_file else f.side
    shape = f.listing(length, longest=3)(f"{where}.sh", spec.get("sh"))
    if len(shape) != PLANES[name]:
        raise f.bad(f"{where}.sh", f"{PLANES[name]} sides for plane {name!r}", list(shape))
    if (name == "ab" and shape[0] != 2) or (name == "rgb" and shape[2] != 3):
        raise f.bad(f"{where}.sh", "(2, H, W) for ab, (H, W, 3) for rgb", list(shape))
    buffer = Buffer(name, dtype, shape, encoding=encoding)
    claimed = f.u64(f"{where}.rn", spec.get("rn"))
    if claimed != buffer.nbytes:
        raise f.bad(f"{where}.rn", f"{buffer.nbytes} bytes for that shape", claimed)
    if claimed > MAX_DATA_PART_BYTES:
        raise BridgeError(
            "too_big",
            f"expected at most {MAX_DATA_PART_BYTES} bytes in one buffer, got {claimed}",
        )
    return buffer


def join(specs: Sequence[Buffer], parts: Sequence[Bytes]) -> tuple[Buffer, ...]:
    """Put each part behind its spec; raises `bad_header` when counts or lengths differ."""
    if len(specs) != len(parts):
        raise BridgeError(
            "bad_header", f"expected {len(specs)} pixel parts as the header says, got {len(parts)}"
        )
    for spec, part in zip(specs, parts):
        length = len(part) if isinstance(part, (bytes, bytearray)) else part.nbytes
        if length != spec.nbytes:
            raise BridgeError(
                "bad_header",
                f"buffer {spec.name!r}: expected {spec.nbytes} bytes, got {length}",
            )
    return tuple(
        Buffer(spec.name, spec.dtype, spec.shape, part, spec.encoding)
        for spec, part in zip(specs, parts)
    )
