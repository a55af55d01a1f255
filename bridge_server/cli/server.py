"""`chromabridge serve`, `status`, `stop`, `effects`: running a server and asking it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.table import Table

from bridge_server.cli.output import EXIT_OK, console, run_guarded, say
from host_plugins.client import connect
from host_plugins.launch import ConnectionInfo, connection_file
from host_plugins.link import CTL

STOP_TIMEOUT_S = 40.0  # the server ends what runs for at most 30

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def serve(
    port: Annotated[
        Optional[int], typer.Option(help="TCP port for control; 0 takes a free one.")
    ] = None,
    data_port: Annotated[Optional[int], typer.Option(help="TCP port for frames.")] = None,
    host: Annotated[Optional[str], typer.Option(help="Address to listen on.")] = None,
    metrics_port: Annotated[
        Optional[int], typer.Option(help="Loopback port for a status page and Prometheus; 0: none.")
    ] = None,
    log_file: Annotated[Optional[Path], typer.Option(help="Add the log to this file.")] = None,
    log_level: Annotated[Optional[str], typer.Option(help="debug, info, warning or error.")] = None,
    log_json: Annotated[bool, typer.Option(help="One JSON object a line.")] = False,
) -> None:
    """Run the server until it is stopped."""

    def work() -> int:
        from bridge_server import settings
        from bridge_server.front.serve import serve as run
        from bridge_server.logs import set_up

        told = settings.load(
            {
                "port": port,
                "data_port": data_port,
                "host": host,
                "metrics_port": metrics_port,
                "log_level": log_level,
            }
        )
        set_up(told.log_level, log_json, log_file)
        run(told, file=connection_file(), log_json=log_json, ready=_announce)
        return EXIT_OK

    run_guarded(work)


def _announce(info: ConnectionInfo) -> None:
    say(f"READY pid {info.pid} {info.endpoints['tcp'][CTL]}")


def status(as_json: Json = False) -> None:
    """Show what the running server does."""

    def work() -> int:
        with connect(start=False, name="chromabridge status") as server:
            told = server.status()
        if as_json:
            say(json.dumps(told, indent=1))
        else:
            _show_status(told)
        return EXIT_OK

    run_guarded(work)


def _show_status(told: Any) -> None:
    worker = told["worker"]
    say(f"server {told['version']}, pid {told['pid']}, {told['state']}, up {told['uptime_s']} s")
    say(f"worker: {worker['doing']}, pid {worker['pid']}, {worker['deaths']} deaths")
    memory = worker.get("memory")
    if memory:
        used, total, held = (memory[name] / 2**30 for name in ("used", "total", "held"))
        own = f", {held:.2f} by the worker" if memory["device"].startswith("cuda") else ""
        say(f"memory of {memory['device']}: {used:.2f} of {total:.2f} GiB{own}")
    table = Table("session", "client", "effect", "done", "waiting", "frames/s", "parked")
    for session in told["sessions"]:
        of = f" of {session['total']}" if session["total"] else ""
        names = ("id", "client", "effect", "waiting", "fps", "parked")
        cells = [str(session[name]) for name in names]
        table.add_row(*cells[:3], f"{session['done']}{of}", *cells[3:])
    console.print(table if told["sessions"] else "no sessions")


def stop() -> None:
    """Ask the running server to finish what runs and to end, and wait until it has."""

    def work() -> int:
        from bridge_server.front.serve import wait_until_gone

        with connect(start=False, name="chromabridge stop") as server:
            server.stop()
        gone = wait_until_gone(connection_file(), STOP_TIMEOUT_S)
        say("the server has stopped" if gone else "the server stops when what runs is done")
        return EXIT_OK

    run_guarded(work)


def effects(as_json: Json = False) -> None:
    """List the effects with their parameters."""

    def work() -> int:
        from bridge_server.effects import registry

        found = [registry.find(name) for name in registry.offered()]
        described = [effect.describe_in_context("filter").to_map() for effect in found]
        if as_json:
            say(json.dumps(described, indent=1))
            return EXIT_OK
        for effect, told in zip(found, described, strict=True):
            reason = effect.unavailable()
            say(f"{effect.id}  {effect.label}")
            say(f"  {effect.hint}")
            if effect.notice:
                say(f"  {effect.notice}")
            if reason is not None:
                say(f"  not usable now: {reason}")
            table = Table("parameter", "takes", "default", "meaning", box=None)
            for param in effect.params:
                table.add_row(param.name, param.expected(), str(param.default), param.hint)
            console.print(table)
            del told
        return EXIT_OK

    run_guarded(work)
