"""`chromabridge keys`: who may reach this server from other machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.table import Table

from bridge_server.cli.output import EXIT_OK, console, run_guarded, say
from bridge_server.keys import Keyring
from host_plugins import places

app = typer.Typer(help="Who may reach this server from other machines.", no_args_is_help=True)


def _keyring() -> Keyring:
    return Keyring(places.make_private(places.home()) / "keys")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Whom the key is for: a person or a machine.")],
    out: Annotated[
        Optional[Path], typer.Option(help="Where to write the secret; NAME.secret by default.")
    ] = None,
) -> None:
    """Let a client in, and write the one file that it needs; its secret is not kept here."""

    def work() -> int:
        path = out or Path(f"{name}.secret")
        keyring = _keyring()
        pair = keyring.new(name)
        try:
            pair.save(path)
        except BaseException:
            keyring.revoke(name)
            raise
        say(f"{name} is let in. Hand over {path}, and do not keep it; it lets its holder in.")
        say(f"There: chromabridge relay --server tcp://HOST:PORT --data-port PORT --key {path}")
        return EXIT_OK

    run_guarded(work)


@app.command("list")
def list_() -> None:
    """Show who is let in."""

    def work() -> int:
        allowed = _keyring().allowed()
        table = Table("name", "public key")
        for key, name in sorted(allowed.items(), key=lambda item: item[1]):
            table.add_row(name, key)
        if allowed:
            console.print(table, markup=False)
        else:
            say("nobody is let in from other machines")
        return EXIT_OK

    run_guarded(work)


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="A name of 'keys list'.")]) -> None:
    """Let a client in no more; a running server ends its connections within a second."""

    def work() -> int:
        _keyring().revoke(name)
        say(f"{name} is not let in any more")
        return EXIT_OK

    run_guarded(work)


@app.command("show-server")
def show_server() -> None:
    """Print this server's public key, by which clients know it; makes it on first need."""

    def work() -> int:
        say(_keyring().server(make=True).public)
        return EXIT_OK

    run_guarded(work)
