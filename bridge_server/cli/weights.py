"""`chromabridge weights list|fetch|verify|import|remove`: getting networks' weights here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from bridge_server.cli.output import EXIT_FAILED, EXIT_OK, console, errors, run_guarded, say
from bridge_server.weights import ROOT, as_bridge_error
from host_plugins import places
from install import manifest
from install import weights as installer
from install.download import Progress as Report
from install.errors import InstallError

app = typer.Typer(
    help="Weights of the networks: fetch, import, check, remove.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="A name from the list.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


@app.command("list")
def list_weights(as_json: Json = False) -> None:
    """Show all weights: what is here, under which terms, and what may be used."""

    def work() -> int:
        rows = installer.listing(manifest.load(), places.home(), ROOT)
        if as_json:
            say(json.dumps([asdict(row) for row in rows], indent=1))
            return EXIT_OK
        table = Table("name", "state", "size", "license", "may be used", "SHA-256", box=None)
        for row in rows:
            badge = row.spdx if row.commercial else f"{row.spdx} (NC)"
            usable = "yes" if row.allowed else "no"
            size = f"{row.bytes / 1e6:.1f} MB" if row.bytes else ""
            table.add_row(row.name, row.state, size, badge, usable, row.sha256[:12])
        console.print(table)
        for row in rows:
            if not row.allowed:
                say(f"{row.name}: {row.reason}")
            if row.state == "broken":
                say(f"{row.name}: {row.detail}")
        return EXIT_OK

    guarded(work)


@app.command()
def fetch(
    name: Name,
    from_file: Annotated[
        Optional[Path], typer.Option(help="Take this file instead of downloading one.")
    ] = None,
    mirror: Annotated[
        Optional[list[str]],
        typer.Option(help="A folder's address to ask first; may be given several times."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Download weights from their authors, check them, and convert them on this machine."""

    def work() -> installer.Installed:
        entry = manifest.get(name)
        if from_file is not None:
            return installer.import_file(entry, from_file, places.home(), convert=_convert())
        named = os.environ.get(installer.MIRROR, "").split()
        with _bar(entry.title) as progress:
            return installer.fetch(
                entry,
                places.home(),
                convert=_convert(),
                progress=progress,
                mirrors=(*(mirror or ()), *named),
            )

    _install(work, as_json)


@app.command("import")
def import_weights(
    name: Name,
    file: Annotated[Path, typer.Argument(help="The file as its authors offer it.")],
    as_json: Json = False,
) -> None:
    """Install weights from a file that was brought here; for machines without a network."""
    home = places.home()
    _install(
        lambda: installer.import_file(manifest.get(name), file, home, convert=_convert()), as_json
    )


@app.command()
def verify(
    names: Annotated[Optional[list[str]], typer.Argument(help="All that are here if none.")] = None,
    as_json: Json = False,
) -> None:
    """Hash installed weights and compare with what was installed and with the list."""

    def work() -> int:
        home = places.home()
        entries = manifest.load()
        wanted = names or [
            row.name for row in installer.listing(entries, home, ROOT) if row.state != "missing"
        ]
        found = {}
        for name in wanted:
            try:
                digest = installer.verify(manifest.get(name), home, ROOT)
                found[name] = {"ok": True, "sha256": digest}
            except InstallError as error:
                found[name] = {"ok": False, "code": error.code, "message": error.message}
        if as_json:
            say(json.dumps(found, indent=1))
        else:
            for name, told in found.items():
                say(f"{name}: {told.get('sha256') or told['message']}")
            if not found:
                say("no weights are installed")
        return EXIT_OK if all(told["ok"] for told in found.values()) else EXIT_FAILED

    guarded(work)


@app.command()
def remove(
    name: Name,
    forget_pin: Annotated[
        bool, typer.Option("--forget-pin", help="Trust the next download's hash as the first one.")
    ] = False,
) -> None:
    """Take installed weights off this machine."""

    def work() -> int:
        entry = manifest.get(name)
        if entry.bundled:
            raise InstallError("unknown_weights", f"{entry.title} are part of ChromaBridge")
        there = installer.remove(entry, places.home(), and_pin=forget_pin)
        say(f"{name}: {'removed' if there else 'was not installed'}")
        return EXIT_OK

    guarded(work)


def _install(work: Callable[[], installer.Installed], as_json: bool) -> None:
    def told() -> int:
        installed = work()
        if as_json:
            say(json.dumps({**asdict(installed), "folder": str(installed.folder)}, indent=1))
            return EXIT_OK
        say(f"{installed.name}: installed in {installed.folder}")
        say(f"SHA-256 {installed.sha256}" + (" (pinned now)" if installed.pinned else ""))
        return EXIT_OK

    guarded(told)


def guarded(work: Callable[[], int]) -> None:
    """As run_guarded, for work that asks the installer."""

    def translated() -> int:
        try:
            return work()
        except InstallError as error:
            raise as_bridge_error(error) from None

    run_guarded(translated)


def _convert() -> installer.Convert:
    from models.weights import convert

    return convert


@contextmanager
def _bar(title: str) -> Iterator[Report]:
    """A progress bar on standard error; the report to feed it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
