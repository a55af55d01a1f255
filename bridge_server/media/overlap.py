"""Overlap of decoding and encoding with other work: bounded queues on threads of their own."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar, cast

from bridge_server.media.frame import PlateFrame
from bridge_server.media.movie_out import MovieOutput
from bridge_server.media.output import Output

Item = TypeVar("Item")
_END = object()


def prefetch(items: Iterable[Item], depth: int = 4) -> Generator[Item, None, None]:
    """The same items, made ahead on a thread; at most `depth` wait, so memory stays bounded.

    An exception of the source is raised where its item would have come. Closing the generator
    stops the thread and closes the source.
    """
    waiting: queue.Queue[object] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: object) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not put((item, None)):
                    return
        except BaseException as problem:
            put((None, problem))
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
            put(_END)

    thread = threading.Thread(target=run, name="prefetch", daemon=True)
    thread.start()
    try:
        while (entry := waiting.get()) is not _END:
            item, problem = cast("tuple[Item, BaseException | None]", entry)
            if problem is not None:
                raise problem
            yield item
    finally:
        stopped.set()
        thread.join()


class WriteBehind:
    """An Output whose write returns at once; at most `depth` frames wait.

    A failure is raised by the next write or by finish. Image files are written by `threads`
    threads, movies by one, in order.
    """

    def __init__(self, output: Output, *, depth: int = 4, threads: int = 2) -> None:
        self.target = output.target
        self.notes = output.notes
        self._output = output
        self._depth = depth
        workers = 1 if isinstance(output, MovieOutput) else threads
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="write")
        self._waiting: deque[Future[None]] = deque()

    def write(self, frame: PlateFrame) -> None:
        """Queue one frame; waits while `depth` frames are unwritten."""
        while self._waiting and (self._waiting[0].done() or len(self._waiting) >= self._depth):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._output.write, frame))

    def finish(self) -> list[Path]:
        """Write what waits and finalize."""
        try:
            while self._waiting:
                self._waiting.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)
        return self._output.finish()

    def abort(self) -> None:
        """Drop what waits and what is not finished."""
        self._pool.shutdown(cancel_futures=True)
        self._output.abort()
