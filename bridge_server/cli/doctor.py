"""`chromabridge doctor`: what works here, what does not, and how to mend it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from bridge_server.cli.output import EXIT_FAILED, EXIT_OK, run_guarded, say


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Check this installation; the exit code says whether it is healthy."""

    def work() -> int:
        from bridge_server.doctor import diagnose

        found = diagnose()
        if as_json:
            say(json.dumps(found.to_json(), indent=1))
        else:
            for line in found.lines():
                say(line)
        return EXIT_OK if found.healthy else EXIT_FAILED

    run_guarded(work)
