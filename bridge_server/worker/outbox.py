"""What the compute thread says, on its way to the thread that owns the sockets."""

from __future__ import annotations

from collections import deque

from bridge_server.gate import Waker
from host_plugins.wire import messages as m


class Outbox:
    """Messages with their channel; `put` may be called from any thread."""

    def __init__(self, waker: Waker) -> None:
        self._waker = waker
        self._messages: deque[tuple[str, m.Message]] = deque()

    def put(self, channel: str, message: m.Message) -> None:
        self._messages.append((channel, message))
        self._waker.wake()

    def take(self) -> list[tuple[str, m.Message]]:
        """All messages so far, oldest first."""
        taken = []
        while self._messages:
            taken.append(self._messages.popleft())
        return taken
