"""Threads that meet at bounded queues, so that memory does not grow with the clip."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import Any, TypeVar

QUEUE_FRAMES = 4
_LOOK_S = 0.2  # between two looks at whether to stop
_JOIN_S = 30.0
T = TypeVar("T")


class Pipeline:
    """What the threads of one run share: whether to stop, and the first failure of any of them.

    on_failure is called on the thread that failed, after the failure was kept.
    """

    def __init__(self, on_failure: Callable[[], None]) -> None:
        self.stopped = threading.Event()
        self.failure: BaseException | None = None
        self._on_failure = on_failure
        self._threads: list[threading.Thread] = []
        self._queues: list[Queue[Any]] = []

    def channel(self) -> Queue[Any]:
        """A queue between two threads; None in it means the end."""
        made: Queue[Any] = Queue(QUEUE_FRAMES)
        self._queues.append(made)
        return made

    def start(self, work: Callable[[], None]) -> threading.Thread:
        """Run work on a thread of its own; its failure stops the others."""

        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                self.fail(error)
                self._on_failure()

        thread = threading.Thread(target=guarded, name=work.__name__, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def fail(self, error: BaseException) -> None:
        """Keep the first failure and stop."""
        self.failure = self.failure or error
        self.stopped.set()

    def put(self, where: Queue[T], item: T) -> bool:
        """Wait for room. False when the run was stopped first; the end (None) is always put."""
        while not self.stopped.is_set() or item is None:
            with suppress(Full):
                where.put(item, timeout=_LOOK_S)
                return True
            if self.stopped.is_set():
                return False
        return False

    def get(self, where: Queue[T]) -> T | None:
        """The next item; None at the end, or when the run was stopped and nothing is left."""
        while True:
            with suppress(Empty):
                return where.get(timeout=_LOOK_S)
            if self.stopped.is_set():
                return None

    def finish(self) -> None:
        """Let every thread see the end, wait for all, and raise the first failure if there is."""
        for waiting in self._queues:
            with suppress(Full):
                waiting.put_nowait(None)
        for thread in self._threads:
            thread.join(timeout=_JOIN_S)
        if self.failure is not None:
            raise self.failure
