"""Ways onto Nuke's main thread, which its API is for, and ways to leave things as they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

import nuke


def on_main(call: Callable[[], None]) -> None:
    """Run it on the main thread: at once when this is it, else when Nuke gets to it."""
    if threading.current_thread() is threading.main_thread():
        call()
    else:
        nuke.executeInMainThread(call)


def ask_main(call: Callable[[], Any]) -> Any:
    """Run it on the main thread and return what it returns; only from another thread.

    Nuke prints exceptions there and returns None: they are carried over and raised here.
    """

    def guarded() -> tuple[bool, Any]:
        try:
            return True, call()
        except Exception as error:  # raised again on the thread that asked
            return False, error

    answer = nuke.executeInMainThreadWithResult(guarded)
    if answer is None:
        raise RuntimeError("Nuke did not run the call on its main thread")
    fine, value = answer
    if not fine:
        raise value
    return value


@contextmanager
def unnoticed() -> Iterator[None]:
    """Changes that are no step for Undo."""
    nuke.Undo().disable()
    try:
        yield
    finally:
        nuke.Undo().enable()


@contextmanager
def one_step(name: str) -> Iterator[None]:
    """Changes that one Undo takes back together."""
    nuke.Undo().begin(name)
    try:
        yield
    finally:
        nuke.Undo().end()


@contextmanager
def full_size() -> Iterator[None]:
    """Proxy mode off, and back to what it was."""
    proxy = nuke.root()["proxy"]
    was = proxy.value()
    proxy.setValue(False)
    try:
        yield
    finally:
        proxy.setValue(was)
