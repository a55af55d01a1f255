"""One connection to a server: a daemon thread owns the link, everybody else talks to it by queues.

When the server goes away the thread tries again with growing pauses, for as long as it was told;
each session hears of the loss and of the new connection in its inbox, and resumes by itself.
"""

from __future__ import annotations

import itertools
import os
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union

from host_plugins.launch import ConnectionInfo
from host_plugins.link import CTL, DATA, Link, open_link
from host_plugins.wire import messages as m
from host_plugins.wire.auth import NONCE_BYTES, is_proof, proof
from host_plugins.wire.buffers import Bytes
from host_plugins.wire.errors import BridgeError
from host_plugins.wire.framing import decode, encode
from host_plugins.wire.version import PROTOCOL_MAJOR, PROTOCOL_MINOR

#: where one request waits for the answering message, or for the error in its place
Answers = queue.SimpleQueue[Union[m.Message, BridgeError]]

PING_S = 1.0
SILENCE_S = 10.0
HANDSHAKE_S = 5.0
REQUEST_S = 20.0


@dataclass(frozen=True)
class Lost:
    """In a session's inbox: the connection is gone; `final` when it will not be tried again."""

    error: BridgeError
    final: bool


@dataclass(frozen=True)
class Restored:
    """In a session's inbox: a new connection stands."""


class Connection:
    """See the module. find: returns where the server is now; it is asked again before each try."""

    def __init__(
        self,
        find: Callable[[], ConnectionInfo],
        *,
        client: Mapping[str, Any],
        transport: str = "auto",
        retry_for_s: float = 30.0,
    ) -> None:
        self._find = find
        self._client = dict(client)
        self._transport = transport
        self._retry_for_s = retry_for_s
        self._outbox: deque[tuple[str, list[Bytes], Optional[bytes]]] = deque()
        self._waiting: dict[int, tuple[Answers, Optional[queue.SimpleQueue[Any]]]] = {}
        self._inboxes: dict[bytes, queue.SimpleQueue[Union[m.Message, Lost, Restored]]] = {}
        #: sessions that the server holds for this very link: opened or resumed on it
        self._attached: set[bytes] = set()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._heard = time.monotonic()
        self._link: Optional[Link] = None
        self.welcome: m.Welcome
        self._link, self.welcome = self._open()
        self._thread = threading.Thread(target=self._run, name="chromabridge-io", daemon=True)
        self._thread.start()

    # --- from any thread ---

    def request(
        self,
        message: m.Message,
        *,
        timeout_s: float = REQUEST_S,
        inbox: Optional[queue.SimpleQueue[Any]] = None,
    ) -> m.Message:
        """Send a message whose `request` is `number()` and wait for its answer.

        inbox: gets all that follows for the session that the answer names, from the first message.
        Raises the server's error, `disconnected`, or `timeout`.
        """
        number: int = getattr(message, "request")  # noqa: B009 (not every message has one)
        answers: Answers = queue.SimpleQueue()
        with self._lock:
            self._waiting[number] = (answers, inbox)
        try:
            self.send(CTL, message)
            answer = answers.get(timeout=timeout_s)
        except queue.Empty:
            raise BridgeError(
                "timeout", f"no answer to {message.kind!r} after {timeout_s:.0f} s", retry=True
            ) from None
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if isinstance(answer, BridgeError):
            raise answer
        return answer

    @property
    def closed(self) -> bool:
        """It will not come back."""
        return self._closing.is_set()

    def number(self) -> int:
        """A fresh request number."""
        return next(self._numbers)

    def send(self, channel: str, message: m.Message) -> None:
        """Queue a message; returns at once.

        A frame or an exemplar is dropped when its session has not been taken up on the connection
        that stands by then: it was meant for one that is lost, and resuming sends it again.
        """
        if self._closing.is_set():
            raise BridgeError("disconnected", "this connection is closed")
        session = getattr(message, "session", None) if channel == DATA else None
        self._outbox.append((channel, encode(message), session))
        link = self._link
        if link is not None:
            with suppress(OSError):
                link.wake()

    def forget(self, session: bytes) -> None:
        with self._lock:
            self._inboxes.pop(session, None)

    def close(self) -> None:
        """Say bye, and end the thread; waits at most a second."""
        if self._closing.is_set():
            return
        with suppress(BridgeError):
            self.send(CTL, m.Bye())
        self._closing.set()
        link = self._link
        if link is not None:
            with suppress(OSError):
                link.wake()
        self._thread.join(timeout=1.0)

    # --- the thread ---

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._serve_link()
            except BridgeError as error:
                self._reconnect(error)
        self._say_goodbye()

    def _say_goodbye(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            with suppress(BridgeError, OSError):
                self._send_queued(link)
                link.poll(0)
            link.close()
        self._tell_all(Lost(BridgeError("disconnected", "this connection is closed"), final=True))

    def _serve_link(self) -> None:
        link = self._link
        assert link is not None
        next_ping = 0.0
        while not self._closing.is_set():
            now = time.monotonic()
            if now >= next_ping:
                link.send(CTL, encode(m.Ping()))
                next_ping = now + PING_S
            self._send_queued(link)
            for _, parts in link.poll(max(0.0, next_ping - time.monotonic())):
                self._heard = time.monotonic()
                self._dispatch(decode(parts))
            if time.monotonic() - self._heard > SILENCE_S:
                raise BridgeError("disconnected", f"the server was silent for {SILENCE_S:.0f} s")

    def _send_queued(self, link: Link) -> None:
        while self._outbox:
            channel, parts, session = self._outbox.popleft()
            if session is None or session in self._attached:
                link.send(channel, parts)

    def _dispatch(self, message: m.Message) -> None:
        number = getattr(message, "request", 0)
        session = getattr(message, "session", None)
        if isinstance(message, (m.Opened, m.Resumed)):
            self._attached.add(message.session)
        with self._lock:
            waiting = self._waiting.get(number) if number else None
            if waiting is not None and waiting[1] is not None and session is not None:
                # from here on this inbox hears the session; its first message may follow at once
                self._inboxes[session] = waiting[1]
            inbox = self._inboxes.get(session) if session else None
        if isinstance(message, m.Event):
            listener = waiting[1] if waiting is not None else inbox
            if listener is not None:
                listener.put(message)
        elif waiting is not None:
            waiting[0].put(message.exception() if isinstance(message, m.Error) else message)
        elif inbox is not None:
            inbox.put(message)
        elif isinstance(message, m.Error) and message.code == "auth":
            # it took us for gone, as after a long stop of this process; only a new handshake helps
            raise BridgeError("disconnected", "the server does not know this connection any more")
        elif isinstance(message, m.Bye):
            raise BridgeError("shutting_down", f"the server said good-bye: {message.reason}")

    def _reconnect(self, error: BridgeError) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()
        self._outbox.clear()
        self._attached.clear()
        self._fail_requests(BridgeError("disconnected", error.message, retry=True))
        self._tell_all(Lost(error, final=False))
        deadline = time.monotonic() + self._retry_for_s
        pause = 0.2
        while not self._closing.is_set() and time.monotonic() < deadline:
            self._closing.wait(pause * random.uniform(0.7, 1.3))
            pause = min(pause * 1.6, 10.0)
            try:
                self._link, self.welcome = self._open()
            except BridgeError as why:
                if why.code == "away":
                    error = why  # a relay knows more of what is missing than we do
                continue
            self._tell_all(Restored())
            return
        self._closing.set()
        self._fail_requests(BridgeError(error.code, error.message, hint=error.hint))
        self._tell_all(Lost(error, final=True))

    def _fail_requests(self, error: BridgeError) -> None:
        with self._lock:
            waiting = list(self._waiting.values())
        for answers, _ in waiting:
            answers.put(error)

    def _tell_all(self, news: Union[Lost, Restored]) -> None:
        with self._lock:
            inboxes = list(self._inboxes.values())
        for inbox in inboxes:
            inbox.put(news)

    # --- the handshake ---

    def _open(self) -> tuple[Link, m.Welcome]:
        info = self._find()
        link = open_link(info.best_endpoints(), transport=self._transport)
        try:
            welcome = shake_hands(link, info.token, self._client)
            self._heard = time.monotonic()
        except BaseException:
            link.close()
            raise
        return link, welcome


def shake_hands(
    link: Link, token: bytes, client: Mapping[str, Any], *, timeout_s: float = HANDSHAKE_S
) -> m.Welcome:
    """Prove the token both ways and attach the data socket; returns what the server said of itself.

    client: what this side says of itself. timeout_s: for each of the three answers. Raises
    BridgeError `auth`, `version`, `timeout`.
    """
    nonce = os.urandom(NONCE_BYTES)
    hello = m.Hello((PROTOCOL_MAJOR, PROTOCOL_MINOR), client, nonce)
    challenge = _exchange(link, CTL, hello, m.Challenge, timeout_s)
    if not is_proof(challenge.proof, token, "server", nonce, challenge.nonce):
        raise BridgeError("auth", "the peer there is not the server of the connection file")
    answer = m.Prove(proof(token, "client", nonce, challenge.nonce))
    welcome = _exchange(link, CTL, answer, m.Welcome, timeout_s)
    _exchange(link, DATA, m.Attach(welcome.ticket), m.Attached, timeout_s)
    return welcome


def _exchange(
    link: Link, channel: str, message: m.Message, expected: type[m.AnyMessage], timeout_s: float
) -> m.AnyMessage:
    """Send one handshake message and wait for the answer of the expected kind."""
    link.send(channel, encode(message))
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for _, parts in link.poll(max(0.0, deadline - time.monotonic())):
            answer = decode(parts)
            if isinstance(answer, m.Error):
                raise answer.exception()
            if isinstance(answer, expected):
                return answer
    raise BridgeError("timeout", f"no answer to {message.kind!r} after {timeout_s:.0f} s")
