"""A file server on loopback that misbehaves on demand, and weights that are small and invented."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from install.manifest import Entry, License

FREE = License("MIT", "MIT License", "https://example.org/mit", True, False, "Ada", ("Be kind.",))
NON_COMMERCIAL = License(
    "CC-BY-NC-SA-4.0", "By-NC-SA", "https://example.org/nc", False, True, "Ada", ("No money.",)
)


@dataclass
class Behavior:
    """What the server does; asked: the Range header of each request, in order."""

    data: bytes = b""
    cut_after: list[int] = field(default_factory=list)
    ranges: bool = True
    range_error: bool = False
    etag: str = '"one"'
    statuses: list[int] = field(default_factory=list)
    redirect: str = ""
    lie_about_start: bool = False
    asked: list[str] = field(default_factory=list)


class _Handler(http.server.BaseHTTPRequestHandler):
    behavior: Behavior

    def do_GET(self) -> None:
        does = self.behavior
        wanted = self.headers.get("Range", "")
        does.asked.append(wanted)
        if does.statuses:
            self.send_error(does.statuses.pop(0))
            return
        if does.redirect and self.path != "/moved":
            self.send_response(302)
            self.send_header("Location", does.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = 0
        if wanted and does.range_error:
            does.range_error = False
            self.send_error(416)
            return
        if wanted and does.ranges and self.headers.get("If-Range") == does.etag:
            start = int(wanted.split("=")[1].rstrip("-"))
            self.send_response(206)
            told = start + 1 if does.lie_about_start else start
            size = len(does.data)
            self.send_header("Content-Range", f"bytes {told}-{size - 1}/{size}")
        else:
            self.send_response(200)
        body = does.data[start:]
        self.send_header("Content-Length", str(len(body)))
        if does.etag:
            self.send_header("ETag", does.etag)
        self.end_headers()
        if does.cut_after:
            body = body[: does.cut_after.pop(0)]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serve() -> Iterator[tuple[str, Behavior]]:
    """Run the server for the block; gives its address without a path, and what it does."""
    behavior = Behavior(data=bytes(range(256)) * 400)
    handler = type("Handler", (_Handler,), {"behavior": behavior})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_address[1]}", behavior
        finally:
            httpd.shutdown()
            thread.join()


def entry_for(urls: tuple[str, ...], *, license: License = FREE, **more: object) -> Entry:
    """Weights of one part, fetched from these addresses."""
    values: dict[str, object] = {"files": {"net": "net.pth"}, **more}
    return Entry("tiny", "tiny", "Tiny weights", license, urls=urls, **values)  # type: ignore[arg-type]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def copy_tensors(source: Path, target: Path) -> None:
    """A conversion that only believes in files that do not begin with BAD."""
    data = source.read_bytes()
    if data.startswith(b"BAD"):
        raise ValueError("expected tensors, got a pickle")
    target.write_bytes(b"converted:" + data)
