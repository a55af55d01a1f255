"""What one header field may hold: small checks that say what was expected and what came.

A check takes a value as msgpack gave it and returns the value to keep; it raises BridgeError
`bad_header`. Checks are also run when a message is built, so that neither side can send what the
other would refuse.
"""

from __future__ import annotations

import math
from typing import Any, Callable

from host_plugins.wire.errors import BridgeError
from host_plugins.wire.limits import MAX_ITEMS, MAX_SIDE, MAX_STRING

Check = Callable[[str, Any], Any]


def bad(name: str, expected: str, value: object) -> BridgeError:
    """The error for one field; the value is shown short and without control characters."""
    shown = "".join(c if c.isprintable() else "?" for c in repr(value)[:60])
    return BridgeError("bad_header", f"field {name!r}: expected {expected}, got {shown}")


def integer(low: int, high: int) -> Check:
    """An int within [low, high]; booleans are none."""

    def check(name: str, value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise bad(name, f"an integer in [{low}, {high}]", value)
        return value

    return check


u8 = integer(0, 2**8 - 1)
u32 = integer(0, 2**32 - 1)
u64 = integer(0, 2**64 - 1)
frame_number = integer(-(2**31), 2**31 - 1)


def real(name: str, value: Any) -> float:
    """A finite float; ints are taken too."""
    if type(value) not in (int, float) or not math.isfinite(value):
        raise bad(name, "a finite number", value)
    return float(value)


def flag(name: str, value: Any) -> bool:
    if type(value) is not bool:
        raise bad(name, "true or false", value)
    return value


def text(name: str, value: Any) -> str:
    if type(value) is not str or len(value) > MAX_STRING:
        raise bad(name, f"a string of at most {MAX_STRING} characters", value)
    return value


def blob(length: int) -> Check:
    """Exactly `length` bytes."""

    def check(name: str, value: Any) -> bytes:
        if type(value) is not bytes or len(value) != length:
            raise bad(name, f"{length} bytes", value)
        return value

    return check


def one_of(*choices: str) -> Check:
    def check(name: str, value: Any) -> str:
        if value not in choices or type(value) is not str:
            raise bad(name, "one of " + ", ".join(choices), value)
        return str(value)

    return check


def listing(item: Check, *, longest: int = MAX_ITEMS) -> Check:
    """A list whose items all pass; kept as a tuple."""

    def check(name: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or len(value) > longest:
            raise bad(name, f"a list of at most {longest}", value)
        return tuple(item(f"{name}[{i}]", v) for i, v in enumerate(value))

    return check


def pair(item: Check) -> Check:
    """Exactly two values, kept as a tuple."""

    def check(name: str, value: Any) -> tuple[Any, Any]:
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise bad(name, "two values", value)
        return item(f"{name}[0]", value[0]), item(f"{name}[1]", value[1])

    return check


def plain_map(name: str, value: Any) -> dict[str, Any]:
    """A map of string keys to plain values (null, bool, number, string, bytes, list, map)."""
    if not isinstance(value, dict) or len(value) > MAX_ITEMS:
        raise bad(name, f"a map of at most {MAX_ITEMS} entries", value)
    for key in value:
        if type(key) is not str:
            raise bad(name, "string keys", key)
    return value


side = integer(1, MAX_SIDE)
session_id = blob(16)
digest = blob(32)
credit_pair = pair(u64)
