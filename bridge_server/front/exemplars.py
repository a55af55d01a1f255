"""Exemplars by content: sent once, kept while memory allows, given to every session that asks."""

from __future__ import annotations

from collections import OrderedDict

from host_plugins.wire import messages as m
from host_plugins.wire.buffers import content_digest
from host_plugins.wire.errors import BridgeError

STORE_BYTES = 512 * 1024 * 1024


class ExemplarStore:
    """The most recently used exemplars, up to a number of bytes."""

    def __init__(self, largest: int = STORE_BYTES) -> None:
        self._largest = largest
        self._kept: OrderedDict[bytes, m.Exemplar] = OrderedDict()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._kept

    def get(self, digest: bytes) -> m.Exemplar:
        """The message that brought it. Raises BridgeError `exemplar_missing`."""
        try:
            self._kept.move_to_end(digest)
            return self._kept[digest]
        except KeyError:
            raise BridgeError(
                "exemplar_missing", f"exemplar {digest.hex()[:12]} is not kept any more"
            ) from None

    def put(self, exemplar: m.Exemplar) -> None:
        """Keep it. Raises BridgeError `bad_exemplar` when its bytes are not what its name says."""
        if len(exemplar.buffers) != 1 or exemplar.buffers[0].name not in ("rgb", "file"):
            raise BridgeError("bad_exemplar", "expected one plane 'rgb' or 'file', got others")
        if content_digest(exemplar.buffers[0]) != exemplar.digest:
            raise BridgeError(
                "bad_exemplar", "expected the exemplar's digest to be that of its bytes"
            )
        self._kept[exemplar.digest] = exemplar
        self._kept.move_to_end(exemplar.digest)
        total = sum(kept.buffers[0].nbytes for kept in self._kept.values())
        while total > self._largest and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            total -= dropped.buffers[0].nbytes
