"""Planes as .npy files, which numpy, and anything that reads 10 lines of header, opens."""

from __future__ import annotations

from host_plugins.client import Buffer

_TYPES = {"u1": "|u1", "<u2": "<u2", "<f2": "<f2", "<f4": "<f4"}


def npy_bytes(buffer: Buffer) -> bytes:
    """A raw plane as an .npy file of format version 1.0 (numpy.lib.format)."""
    shape = "(" + "".join(f"{side}, " for side in buffer.shape) + ")"
    head = f"{{'descr': '{_TYPES[buffer.dtype]}', 'fortran_order': False, 'shape': {shape}, }}"
    pad = -(10 + len(head) + 1) % 64
    text = (head + " " * pad + "\n").encode("latin-1")
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(buffer.data)
