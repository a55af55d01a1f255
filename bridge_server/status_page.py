"""A loopback port for people and for Prometheus: `/` a page, `/metrics`, `/status.json`.

Served by daemon threads from what the front published last. It can be read by every user of this
machine, and changes nothing.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bridge_server.metrics import Metrics, exposition
from bridge_server.status_html import PAGE
from host_plugins.wire.errors import BridgeError

log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
#: a page of another site that points its name here sends that name; it gets nothing
HOSTS = re.compile(r"(127\.0\.0\.1|localhost)(:\d+)?")
SECURITY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
SECURITY += "connect-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'"


class StatusPage:
    """Serves from construction until close. Raises BridgeError `port_taken`."""

    def __init__(self, port: int, metrics: Metrics) -> None:
        handler = type("Handler", (_Handler,), {"metrics": metrics})
        try:
            self._server = ThreadingHTTPServer((ADDRESS, port), handler)
        except (OSError, OverflowError) as error:
            raise BridgeError(
                "port_taken",
                f"metrics port {port} cannot be bound: {error}",
                hint="Choose another port with --metrics-port, or 0 for none.",
            ) from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="status page", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    metrics: Metrics
    timeout = 5
    server_version = "chromabridge"
    sys_version = ""

    def do_GET(self) -> None:
        told = self.metrics.published
        path = self.path.partition("?")[0]
        if HOSTS.fullmatch(self.headers.get("Host", "")) is None:
            self._answer(403, "text/plain", b"expected a loopback name\n")
        elif path == "/":
            self._answer(200, "text/html; charset=utf-8", PAGE.encode())
        elif not told:
            self._answer(503, "text/plain", b"the server is starting\n")
        elif path == "/metrics":
            self._answer(200, "text/plain; version=0.0.4; charset=utf-8", exposition(told))
        elif path == "/status.json":
            self.metrics.watched = time.monotonic()
            shown = {name: told[name] for name in told if name not in ("samples", "stages")}
            self._answer(200, "application/json", json.dumps(shown, default=str).encode())
        elif path.startswith("/frame/") and path[len("/frame/") :] in told["samples"]:
            from bridge_server.thumbnails import png

            self._answer(200, "image/png", png(told["samples"][path[len("/frame/") :]]))
        else:
            self._answer(404, "text/plain", b"nothing is here\n")

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", SECURITY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug("%s", args[0] if args else "")
