"""`chromabridge license list|show|accept|revoke`: who accepted which weights' terms."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from bridge_server.cli.output import EXIT_OK, say
from bridge_server.cli.weights import guarded
from host_plugins import places
from install import licenses, manifest

app = typer.Typer(help="Terms of weights: read, accept, take back.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The name of the weights, such as colormnet.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command("list")
def list_licenses(as_json: Json = False) -> None:
    """Show every acceptance and what is allowed now."""

    def work() -> int:
        home = places.home()
        entries = manifest.load()
        states = {name: licenses.state(entry, home) for name, entry in entries.items()}
        audit = licenses.audit(home)
        if as_json:
            told = {
                "weights": {name: asdict(state) for name, state in states.items()},
                "audit": [asdict(record) for record in audit],
            }
            say(json.dumps(told, indent=1))
            return EXIT_OK
        for name, state in states.items():
            say(f"{name}: {entries[name].license.spdx}, {'allowed' if state.allowed else 'off'}")
            if not state.allowed:
                say(f"  {state.reason}. {state.hint}")
        for record in audit:
            verb = "accepted" if record.action == "accept" else "revoked"
            say(f"{record.date} {record.name} {verb} {record.weights} for: {record.purpose}")
        return EXIT_OK

    guarded(work)


@app.command()
def show(name: Name) -> None:
    """Print the terms of some weights."""

    def work() -> int:
        _show(manifest.get(name))
        return EXIT_OK

    guarded(work)


@app.command()
def accept(
    name: Name,
    person: Annotated[str, typer.Option("--name", help="Who accepts.")] = "",
    purpose: Annotated[str, typer.Option(help="What the weights are used for.")] = "",
) -> None:
    """Accept the terms of some weights, by name and for a purpose; this is written down."""

    def work() -> int:
        entry = manifest.get(name)
        home = places.home()
        found = licenses.state(entry, home)
        if found.code == "license_forbidden":
            licenses.require(entry, home)
        _show(entry)
        who, why = person, purpose
        if sys.stdin is not None and sys.stdin.isatty():
            who = who or typer.prompt("Your name")
            why = why or typer.prompt("Purpose")
        record = licenses.accept(entry, home, name=who, purpose=why)
        say(f"accepted by {record.name} for {record.purpose}, {record.date}")
        return EXIT_OK

    guarded(work)


@app.command()
def revoke(
    name: Name,
    person: Annotated[str, typer.Option("--name", help="Who takes it back.")] = "",
) -> None:
    """Take an acceptance back; the weights are off from the next load on."""

    def work() -> int:
        licenses.revoke(manifest.get(name), places.home(), name=person)
        say(f"{name}: no longer accepted")
        return EXIT_OK

    guarded(work)


def _show(entry: manifest.Entry) -> None:
    terms = entry.license
    say(f"{entry.title}: {terms.title} ({terms.spdx})")
    say(terms.url)
    for sentence in terms.terms:
        say(f"- {sentence}")
    say(f"Attribution: {terms.attribution}")
