"""`chromabridge relay`: lets the hosts of this machine work on a server of another one."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Optional

import typer

from bridge_server.cli.output import EXIT_OK, run_guarded, say
from host_plugins.launch import ConnectionInfo, connection_file
from host_plugins.link import CTL, DATA
from host_plugins.wire.errors import BridgeError


def relay(
    server: Annotated[str, typer.Option(help="The server's control address: tcp://HOST:PORT.")],
    data_port: Annotated[int, typer.Option(help="The server's port for frames.")],
    key: Annotated[Path, typer.Option(help="The file that 'keys new' wrote on the server.")],
    server_key: Annotated[
        Optional[str], typer.Option(help="The server's public key, when the file lacks it.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_json: Annotated[bool, typer.Option(help="One JSON object a line.")] = False,
) -> None:
    """Serve this machine's hosts from a server on another machine, until stopped."""

    def work() -> int:
        from bridge_server.front.serve import only_one
        from bridge_server.keys import KeyPair
        from bridge_server.logs import set_up
        from bridge_server.relay import Relay, Target
        from host_plugins import places
        from host_plugins.zmq_link import Curve

        set_up(log_level, log_json)
        pair = KeyPair.load(key)
        known = server_key or pair.server
        if len(known) != 40:
            raise BridgeError(
                "bad_param",
                f"expected the server's public key of 40 characters, got {len(known)}",
                hint="Run 'chromabridge keys show-server' on the server.",
            )
        target = Target(_endpoints(server, data_port), Curve(known, pair.public, pair.secret))
        file = connection_file()
        places.make_private(file.parent)
        with only_one(file):
            running = Relay(target, file=file)
            for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), lambda *_: running.stop())
            running.run(_announce)
        return EXIT_OK

    run_guarded(work)


def _endpoints(server: str, data_port: int) -> dict[str, str]:
    scheme, _, address = server.partition("://")
    host, _, port = address.rpartition(":")
    if scheme != "tcp" or not host or not port.isdigit():
        raise BridgeError("bad_param", f"expected --server as tcp://HOST:PORT, got {server!r}")
    return {CTL: f"tcp://{host}:{port}", DATA: f"tcp://{host}:{data_port}"}


def _announce(info: ConnectionInfo) -> None:
    say(f"READY relay pid {info.pid} {info.endpoints['tcp'][CTL]}")
