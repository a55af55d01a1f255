"""Every limit of the wire, checked before anything is allocated for a peer."""

from __future__ import annotations

MAX_HEADER_BYTES = 64 * 1024
MAX_CTL_PART_BYTES = 64 * 1024
MAX_DATA_PART_BYTES = 512 * 1024 * 1024
MAX_BUFFERS = 8
MAX_PARTS = 2 + MAX_BUFFERS
MAX_SIDE = 16384
MAX_STRING = 4096
MAX_BINARY = 65536
MAX_ITEMS = 64
MAX_NESTING = 6
