"""The worker process: one thread owns the sockets, the main thread runs the networks.

Started by the front with a setup file that holds its token and where to bind. It speaks the same
protocol as the front, so that it can be tested alone; it ends when the front does.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from bridge_server import __version__
from bridge_server.gate import Gate, Waker
from bridge_server.logs import set_up
from bridge_server.peers import Peer, Peers, protocol
from bridge_server.worker.outbox import Outbox
from host_plugins.launch import ConnectionInfo
from host_plugins.link import CTL
from host_plugins.wire import messages as m

if TYPE_CHECKING:
    from bridge_server.worker.compute import Compute

log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="chromabridge-worker")
    parser.add_argument("--setup", type=Path, required=True)
    setup = json.loads(parser.parse_args(argv).setup.read_text(encoding="utf-8"))
    set_up(setup["log_level"], setup["log_json"])
    threading.Thread(target=_end_with_parent, daemon=True).start()

    from bridge_server.worker.compute import Compute

    waker = Waker()
    outbox = Outbox(waker)
    compute = Compute(outbox, home=Path(setup["home"]), settings=setup["settings"])
    sockets = SocketThread(setup, waker, outbox, compute)
    sockets.start()
    compute.run()
    sockets.finish()
    return 0


class SocketThread(threading.Thread):
    """Takes messages from the front, answers what needs no device, queues the rest."""

    def __init__(
        self, setup: dict[str, Any], waker: Waker, outbox: Outbox, compute: Compute
    ) -> None:
        super().__init__(name="sockets", daemon=True)
        self._setup = setup
        self._waker = waker
        self._outbox = outbox
        self._compute = compute
        self._boot = os.urandom(16)
        self._ending = threading.Event()

    def run(self) -> None:
        context = zmq.Context(io_threads=1)
        gate = Gate(context)
        token = bytes.fromhex(self._setup["token"])
        peers = Peers(gate, token, self._welcome)
        bound = gate.bind("worker", self._setup["bind"])
        info = ConnectionInfo({"tcp": bound}, token, self._boot, os.getpid(), __version__)
        info.save(Path(self._setup["answer"]))
        poller = zmq.Poller()
        gate.register(poller)
        self._waker.register(poller)
        while not self._ending.is_set():
            poller.poll(250)
            self._waker.drain()
            for channel, routing_id, parts in gate.receive():
                heard = peers.hear(channel, routing_id, parts)
                if heard is not None:
                    self._take(peers, *heard)
            for channel, message in self._outbox.take():
                for peer in peers:
                    peers.send(peer, channel, message)
        for channel, message in self._outbox.take():
            for peer in peers:
                peers.send(peer, channel, message)
        gate.close(linger_ms=1000)
        context.term()

    def finish(self) -> None:
        """Send what is left, and end."""
        self._ending.set()
        self._waker.wake()
        self.join(timeout=5.0)

    def _take(self, peers: Peers, peer: Peer, message: m.Message) -> None:
        from bridge_server.worker.memory import device_memory

        if isinstance(message, m.Ping):
            state, age = self._compute.state()
            peers.send(peer, CTL, m.Pong(self._boot, state, age, message.request))
        elif isinstance(message, m.Status):
            told = {**self._compute.status(), "memory": device_memory(self._compute.facts)}
            peers.send(peer, CTL, m.Status(told, message.request))
        elif not isinstance(message, m.Bye):
            self._compute.queue(message)

    def _welcome(self, ticket: bytes) -> m.Welcome:
        told = {"name": "chromabridge worker", "version": __version__, "pid": os.getpid()}
        return m.Welcome(protocol(), told, self._boot, ticket)


def _end_with_parent() -> None:
    """Standard input is a pipe from the front; its end means that the front is gone."""
    try:
        while os.read(sys.stdin.fileno(), 1):
            pass
    except OSError:
        pass
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main())
