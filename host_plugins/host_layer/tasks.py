"""Short work away from the host's main thread: a value that comes later and is polled."""

from __future__ import annotations

import threading
from typing import Any, Callable, Generic, Optional, TypeVar

from host_plugins.host_layer.messages import Message, explain
from host_plugins.wire.errors import BridgeError

T = TypeVar("T")


class Task(Generic[T]):
    """Runs a function on a thread of its own, from now on.

    on_done: called on that thread when it has ended; a host uses it to wake its main thread.
    """

    def __init__(
        self, work: Callable[[], T], *, on_done: Optional[Callable[[Task[Any]], None]] = None
    ) -> None:
        self._work = work
        self._on_done = on_done
        self._value: Optional[T] = None
        self._error: Optional[Exception] = None
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="chromabridge-task", daemon=True).start()

    @property
    def done(self) -> bool:
        """It has ended, well or not."""
        return self._ended.is_set()

    @property
    def message(self) -> Optional[Message]:
        """Why it failed, in words; None while it runs and when it went well."""
        return explain(self._error) if self.done and self._error is not None else None

    @property
    def value(self) -> Optional[T]:
        """What came out; None while it runs and when it failed."""
        return self._value if self.done else None

    def result(self, timeout_s: float = 60.0) -> T:
        """Wait for it: for terminals and tests, never on a host's main thread.

        Raises what it raised, or BridgeError timeout.
        """
        if not self._ended.wait(timeout_s):
            raise BridgeError("timeout", f"no answer after {timeout_s:.0f} s", retry=True)
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def _run(self) -> None:
        try:
            self._value = self._work()
        except Exception as error:  # a host must never see one of our exceptions on its own
            self._error = error
        finally:
            self._ended.set()
        if self._on_done is not None:
            self._on_done(self)
