"""A host's one door to the server: connects on a thread, remembers panels, starts jobs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Optional, Union

from host_plugins.client import Server, connect
from host_plugins.host_layer.files import write_whole
from host_plugins.host_layer.job import Job, JobSpec
from host_plugins.host_layer.panel import Panel
from host_plugins.host_layer.plates import Plate, PlateQueue
from host_plugins.host_layer.settings import Settings
from host_plugins.host_layer.tasks import Task
from host_plugins.wire.errors import BridgeError

Done = Optional[Callable[[Task[Any]], None]]

#: a host's job asks for a new server sooner than it waits for one that is gone
RETRY_FOR_S = 4.0
#: how long a server may take from its start to its first answer
START_S = 20.0


class Service:
    """name, version: the host's, for the server's log. Every method returns at once.

    connect: how a connection is made; tests give their own.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        name: str,
        version: str,
        connect: Callable[..., Server] = connect,
    ) -> None:
        self.settings = settings
        self._name = name
        self._version = version
        self._connect = connect
        self._server: Optional[Server] = None
        self._lock = threading.Lock()

    def start_server(self, *, on_done: Done = None) -> Task[str]:
        """Connect, and start a server where none runs; the task's value is the server's version."""
        return Task(lambda: str(self.server(start=True).info.get("version", "")), on_done=on_done)

    def effects(self, *, start: bool = False, on_done: Done = None) -> Task[tuple[str, ...]]:
        """The effects that can be opened, the default one first."""
        return Task(lambda: self.server(start=start).effects, on_done=on_done)

    def panel(
        self,
        effect: str = "",
        *,
        context: str = "filter",
        start: bool = False,
        on_done: Done = None,
    ) -> Task[Panel]:
        """An effect's panel, asked from the server; "" is the one of the settings, else the
        server's default. It is remembered for when no server runs."""
        return Task(lambda: self._ask_panel(effect, context, start), on_done=on_done)

    def remembered(self, effect: str = "", *, context: str = "filter") -> Optional[Panel]:
        """The panel as the server described it last, without asking; None when it never did."""
        if not effect:
            effect = self.settings.effect or self._told("default") or ""
        try:
            text = self._described(effect, context).read_text(encoding="utf-8")
            return self._panel(json.loads(text))
        except (OSError, ValueError, BridgeError):
            return None

    def remembered_effects(self) -> tuple[str, ...]:
        """The effects as the server listed them last, without asking."""
        return tuple((self._told("effects") or "").split())

    def start(
        self,
        spec: JobSpec,
        plates: Union[Iterable[Plate], PlateQueue],
        *,
        on_change: Optional[Callable[[Job], None]] = None,
    ) -> Job:
        """Colorize on a thread; starts a server when none runs. on_change: called on that thread
        whenever Job.poll has something new."""
        return Job(self, spec, plates, on_change=on_change)

    def close(self) -> None:
        """Drop the connection in the background; jobs that run end as if the server had gone."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            threading.Thread(target=server.close, daemon=True).start()

    def server(self, *, start: bool) -> Server:
        """The connection, made when there is none; blocks: only for threads of this package.

        Raises BridgeError no_server, server_not_installed, server_start_failed, version, auth.
        """
        with self._lock:
            if self._server is not None and self._answers(self._server):
                return self._server
            self._server = None
            self._server = self._connected(start=start and not self.settings.server)
            with suppress(BridgeError):
                effects = self._server.effects
                self._tell("effects", " ".join(effects))
                self._tell("default", effects[0] if effects else "")
            return self._server

    def _connected(self, *, start: bool) -> Server:
        """A new connection. A server that was just started may still be behind the connection file
        of one that was killed: it is given time to write its own."""
        other = self.settings.server

        def attempt(start: bool) -> Server:
            return self._connect(
                start=start,
                file=Path(other) if other else None,
                name=self._name,
                version=self._version,
                retry_for_s=RETRY_FOR_S,
            )

        until = time.monotonic() + START_S
        try:
            return attempt(start)
        except BridgeError as error:
            if not start or error.code not in ("no_server", "timeout"):
                raise
        while True:
            time.sleep(0.2)
            try:
                return attempt(start=False)
            except BridgeError as error:
                if error.code not in ("no_server", "timeout") or time.monotonic() > until:
                    raise

    @staticmethod
    def _answers(server: Server) -> bool:
        try:
            server.ping()
        except BridgeError:
            server.close()
            return False
        return True

    def _ask_panel(self, effect: str, context: str, start: bool) -> Panel:
        server = self.server(start=start)
        effect = effect or self.settings.effect
        if not effect and not server.effects:
            raise BridgeError("weights_missing", "the server has no effect ready")
        effect = effect or server.effects[0]
        told = server.describe(effect, context=context)
        panel = self._panel(told)
        with suppress(BridgeError, TypeError):
            write_whole(self._described(effect, context), json.dumps(told).encode())
        return panel

    def _panel(self, told: Mapping[str, Any]) -> Panel:
        size = self.settings.working_size
        return Panel.from_descriptor(told, defaults={"working_size": size} if size else {})

    # --- what is remembered ---

    def _described(self, effect: str, context: str) -> Path:
        plain = "".join(c if c.isalnum() else "_" for c in f"{effect}.{context}")
        return self.settings.cache_root / "panels" / f"{plain}.json"

    def _tell(self, name: str, text: str) -> None:
        write_whole(self.settings.cache_root / "panels" / f"{name}.txt", text.encode())

    def _told(self, name: str) -> Optional[str]:
        try:
            path = self.settings.cache_root / "panels" / f"{name}.txt"
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None
