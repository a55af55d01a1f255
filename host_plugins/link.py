"""Both sockets of one client behind one small interface, by the standard library or by pyzmq.

A link belongs to the thread that polls it; only `wake` may be called from another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from host_plugins.wire.buffers import Bytes
from host_plugins.wire.errors import BridgeError

CTL = "ctl"
DATA = "data"
CHANNELS = (CTL, DATA)
CONNECT_TIMEOUT_S = 2.0


class Link(Protocol):
    """A ctl and a data socket to one server."""

    def send(self, channel: str, parts: Sequence[Bytes]) -> None:
        """Queue one message; it leaves during poll. The parts must not change until then."""

    def poll(self, timeout_s: float) -> list[tuple[str, list[Bytes]]]:
        """Send what is queued and return what came, at the latest after timeout_s or a wake.

        Raises BridgeError `disconnected` when the server closed a socket.
        """

    def wake(self) -> None:
        """End a poll that waits in another thread."""

    def close(self) -> None:
        """Close both sockets at once; what is still queued is dropped."""


def open_link(endpoints: dict[str, str], *, transport: str = "auto") -> Link:
    """Connect to the endpoints {"ctl": ..., "data": ...}, each tcp://HOST:PORT or ipc://PATH.

    transport: "zmtp" for the standard library's, "zmq" for pyzmq's, "auto" for pyzmq where it is
    importable. Raises BridgeError `no_server` when nobody listens.
    """
    if transport == "auto":
        transport = "zmq" if _has_pyzmq() else "zmtp"
    if transport == "zmq":
        from host_plugins.zmq_link import ZmqLink

        return ZmqLink(endpoints)
    if transport == "zmtp":
        from host_plugins.zmtp_link import ZmtpLink

        return ZmtpLink(endpoints)
    raise BridgeError("bad_param", f"expected transport auto, zmtp or zmq, got {transport!r}")


def _has_pyzmq() -> bool:
    try:
        import zmq  # noqa: F401
    except (ImportError, OSError):
        return False
    return True
