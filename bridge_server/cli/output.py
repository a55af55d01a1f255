"""How every command talks: one console, one way to fail, named exit codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import typer
from rich.console import Console

from host_plugins.wire.errors import BridgeError

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 3  # no server, no weights, no license
EXIT_INPUT = 4  # a clip, exemplar or output that cannot be used
EXIT_CANCELLED = 130

UNAVAILABLE_CODES = frozenset(
    (
        *("no_server", "server_not_installed", "server_start_failed", "already_running"),
        *("port_taken", "weights_missing", "weights_mismatch", "license_required"),
        *("license_forbidden", "busy", "auth", "version", "accelerator_required", "offline"),
        *("host_not_found", "host_lost", "host_unsupported"),
    )
)
INPUT_CODES = frozenset(
    (
        *("clip_unreadable", "frame_missing", "interlaced", "unsupported_format"),
        *("output_exists", "output_not_writable", "disk_full"),
        *("bad_exemplar", "exemplar_missing"),
    )
)
USAGE_CODES = frozenset(("unknown_effect", "unknown_param", "bad_param"))

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """One line on standard output, as it is."""
    console.print(text, markup=False, soft_wrap=True)


def run_guarded(work: Callable[[], int]) -> NoReturn:
    """Run a command's work; a BridgeError becomes two lines and an exit code, never a traceback."""
    try:
        code = work()
    except BridgeError as error:
        complain(error)
        code = exit_code(error)
    except KeyboardInterrupt:
        code = EXIT_CANCELLED
    raise typer.Exit(code)


def complain(error: BridgeError) -> None:
    """Show what happened and what to do next."""
    errors.print(f"error {error.code}: {error.message}", markup=False, soft_wrap=True)
    if error.hint:
        errors.print(f"  {error.hint}", markup=False, soft_wrap=True)


def exit_code(error: BridgeError) -> int:
    """The exit code of an error's kind."""
    if error.code in USAGE_CODES:
        return EXIT_USAGE
    if error.code in UNAVAILABLE_CODES:
        return EXIT_UNAVAILABLE
    if error.code in INPUT_CODES:
        return EXIT_INPUT
    return EXIT_CANCELLED if error.code == "cancelled" else EXIT_FAILED
