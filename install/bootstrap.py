#!/usr/bin/env python3
"""The first command on a fresh machine; finds a Python that is new enough before all else.

Kept in a syntax that Python 3.6 can still read, so that an old one can say what is wrong.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator  # noqa: UP035 (collections.abc has no subscripts before 3.9)

NEEDED = (3, 10)
PREFERRED = ("3.11", "3.12", "3.13", "3.10")
HERE = Path(__file__).resolve()


def main() -> int:
    """Run the asked step with this Python, or with the first one found that is new enough."""
    if sys.version_info < NEEDED:
        return _with_a_newer_python()
    root = str(HERE.parent.parent)
    foreign = ("", root, str(HERE.parent))
    sys.path[:] = [root] + [entry for entry in sys.path if entry not in foreign]
    from install.commands import main as run

    return run(sys.argv[1:])


def _with_a_newer_python() -> int:
    mine = "{}.{}".format(*sys.version_info[:2])
    for command in _candidates():
        if _is_new_enough(command):
            sys.stderr.write(f"This is Python {mine}; ChromaBridge's server runs on {command}.\n")
            return subprocess.call([command, str(HERE), *sys.argv[1:]])
    sys.stderr.write(
        f"failed   python: expected Python 3.10 or newer, got {mine} and found no other "
        "[python_missing]\n         Install Python 3.11 from python.org or your package manager, "
        "then run this again with it.\n"
    )
    return 5


def _candidates() -> Iterator[str]:
    for version in PREFERRED:
        yield shutil.which("python" + version) or ""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for version in PREFERRED:
        for found in (pyenv / "versions").glob(version + ".*/bin/python"):
            yield str(found)


def _is_new_enough(command: str) -> bool:
    if not command:
        return False
    code = f"import sys; sys.exit(sys.version_info < {NEEDED!r})"
    quiet = subprocess.DEVNULL
    try:
        return subprocess.call([command, "-c", code], stdout=quiet, stderr=quiet) == 0
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
