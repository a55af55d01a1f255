"""Every call to Resolve goes through here: its methods answer None or False and say nothing.

A call that must succeed is read back, tried once more, and then told as an error with the call's
name and what the user can do.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Optional

from host_plugins.wire.errors import BridgeError

RETRY_S = 0.6
DIALOG = (
    "Close any open dialog in Resolve, wait for a running backup or render to end, and try again."
)


class Refused(BridgeError):
    """Resolve said no twice. call: the method's name."""

    def __init__(self, call: str, message: str, *, hint: str = "") -> None:
        if call not in message:
            message = f"{message} ({call})"
        super().__init__("host_refused", message, hint=hint or DIALOG, retry=True)
        self.call = call


class HostLost(BridgeError):
    """Resolve went away, or its scripting did."""

    def __init__(self, message: str = "Resolve does not answer any more") -> None:
        super().__init__(
            "host_lost",
            message,
            hint="Start Resolve, open the project and run again; finished frames are kept.",
        )


class HostChanged(BridgeError):
    """The project, timeline or clip is not what the run began with."""

    def __init__(self, message: str) -> None:
        super().__init__(
            "host_changed",
            message,
            hint="Finished frames are kept: run again on the timeline as it is now.",
        )


def filled(value: Any) -> bool:
    """Resolve's usual sign of success; 0 is an answer, None, False and empty things are none."""
    return not (value is None or value is False or value in ("", [], {}, ()))


class Calls:
    """resolve: the root object. sleep, now: time, which tests give their own.

    Arguments are positional, always: Resolve documents no other form.
    """

    def __init__(
        self,
        resolve: Any,
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.resolve = resolve
        self.sleep = sleep
        self.now = now

    def has(self, item: Any, name: str) -> bool:
        """Whether this version has the method; hasattr is true for anything."""
        return callable(getattr(item, name, None))

    def ask(self, item: Any, name: str, *arguments: Any) -> Any:
        """Call a method whose None is an answer. Raises HostLost, or Refused when it is missing."""
        method = getattr(item, name, None)
        if not callable(method):
            raise self._missing(item, name)
        try:
            return method(*arguments)
        except Exception as problem:  # fusionscript raises what it likes when Resolve dies
            if not callable(getattr(self.resolve, "GetProjectManager", None)):
                raise HostLost() from None
            raise Refused(name, f"Resolve failed in {name}: {problem}") from problem

    def get(self, item: Any, name: str, *arguments: Any, default: Any = None) -> Any:
        """As ask, but `default` where this version lacks the method or answers None."""
        if not self.has(item, name):
            return default
        answer = self.ask(item, name, *arguments)
        return default if answer is None else answer

    def must(
        self,
        item: Any,
        name: str,
        *arguments: Any,
        done: Optional[Callable[[], Any]] = None,
        hint: str = "",
    ) -> Any:
        """Call a method that has to succeed.

        done: reads the state back and returns what the call should have returned (or True) when
        its work is there all the same; asked after each None or False, so that nothing is done
        twice. Raises Refused, HostLost.
        """
        for attempt in (1, 2):
            answer = self.ask(item, name, *arguments)
            if filled(answer):
                return answer
            found = done() if done is not None else None
            if filled(found):
                return found
            if attempt == 1:
                self.sleep(RETRY_S)
        self.check_alive()
        raise Refused(name, f"Resolve refused {name}{_shown(arguments)} twice", hint=hint)

    def check_alive(self) -> None:
        """Raises HostLost when Resolve is gone or wedged."""
        manager = self.ask(self.resolve, "GetProjectManager")
        if manager is None:
            return  # a dialog is open: not gone, and told by the call that it stopped
        if self.ask(manager, "GetCurrentDatabase") is None:
            raise HostLost("Resolve is stuck: it has no database open")

    def _missing(self, item: Any, name: str) -> BridgeError:
        if not callable(getattr(self.resolve, "GetProjectManager", None)):
            return HostLost()
        if item is None:
            return Refused(name, f"There is nothing to call {name} on")
        return Refused(
            name,
            f"This version of Resolve has no {name}",
            hint="Update Resolve, or choose another way; docs/resolve.md lists what needs what.",
        )


def _shown(arguments: tuple[Any, ...]) -> str:
    told = ", ".join(
        repr(a) if isinstance(a, (str, int, float, bool)) else "..." for a in arguments
    )
    return f"({told[:100]})"
