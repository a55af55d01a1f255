"""The command `chromabridge`; one module a group of commands."""

from __future__ import annotations

import typer

from bridge_server.cli import server

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


def main() -> None:
    """The console script's entry."""
    app()
