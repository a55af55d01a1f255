"""The command `chromabridge`; one module a group of commands."""

from __future__ import annotations

import os

import typer

from bridge_server.cli import (
    colorize,
    doctor,
    kernels,
    keys,
    license,
    measure,
    relay,
    resolve,
    server,
    weights,
)

app = typer.Typer(
    name="chromabridge",
    help="Exemplar-based colorization of black-and-white footage.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(server.serve)
app.command()(server.status)
app.command()(server.stop)
app.command()(server.effects)
app.command()(relay.relay)
app.command()(colorize.colorize)
app.command()(colorize.still)
app.command()(measure.compare)
app.command()(measure.bench)
app.command()(doctor.doctor)
app.add_typer(weights.app, name="weights")
app.add_typer(keys.app, name="keys")
app.add_typer(kernels.app, name="kernels")
app.add_typer(license.app, name="license")
app.add_typer(resolve.app, name="resolve")


def main() -> None:
    """The console script's entry.

    OpenMP threads sleep while they wait (read when torch is first imported): spinning ones would
    take the cores from the worker.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()
