"""The one exception of the installer, its codes and the exit codes of every command."""

from __future__ import annotations

from typing import Dict  # noqa: UP035 (this module names the table's type at run time on 3.9)

OK = 0
FAILED = 1
USAGE = 2
UNHEALTHY = 3
LOCKED = 4
MISSING = 5
REFUSED = 6

#: code -> exit code. Codes are stable; documentation is generated from this table.
EXIT_CODES: Dict[str, int] = {  # noqa: UP006
    "python_missing": MISSING,
    "venv_missing": MISSING,
    "disk_full": MISSING,
    "not_writable": MISSING,
    "offline": MISSING,
    "pip_failed": FAILED,
    "unknown_weights": USAGE,
    "weights_missing": MISSING,
    "download_failed": FAILED,
    "hash_mismatch": REFUSED,
    "bad_archive": REFUSED,
    "bad_weights": REFUSED,
    "unknown_host": USAGE,
    "host_failed": FAILED,
    "kernel_unready": MISSING,
    "kernel_failed": FAILED,
    "license_required": REFUSED,
    "license_forbidden": REFUSED,
    "check_failed": FAILED,
    "command_failed": FAILED,
    "bad_bundle": REFUSED,
    "demo_failed": FAILED,
    "interrupted": FAILED,
    "locked": LOCKED,
}


class InstallError(Exception):
    """A step that could not be done.

    code: one of EXIT_CODES. message: what was expected and what came. hint: what to do next.
    """

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]" + (f" {self.hint}" if self.hint else "")

    @property
    def exit_code(self) -> int:
        """What the command ends with."""
        return EXIT_CODES.get(self.code, FAILED)
