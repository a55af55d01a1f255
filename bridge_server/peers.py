"""Who is connected: the handshake with the token, the data ticket, silence and good-bye."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge_server.gate import Gate, PeerGone
from host_plugins.link import CTL, DATA
from host_plugins.wire import messages as m
from host_plugins.wire.auth import NONCE_BYTES, TOKEN_BYTES, is_proof, proof
from host_plugins.wire.buffers import Bytes
from host_plugins.wire.errors import BridgeError
from host_plugins.wire.framing import decode, encode
from host_plugins.wire.version import PROTOCOL_MAJOR, PROTOCOL_MINOR

log = logging.getLogger(__name__)

#: how many connections of one door may wait for their proof
MAX_STRANGERS = 32
STRANGER_S = 5.0
SILENCE_S = 10.0
#: how often connected peers' keys are looked for in the allow-list
KEYS_S = 0.5
MAX_BAD_MESSAGES = 3
#: behind CURVE the key itself is the proof; the handshake stays the same, with this token
KEYED_TOKEN = bytes(TOKEN_BYTES)


@dataclass
class Peer:
    """One client that has proved the token. `data` is empty until its data socket is attached.

    key_name: the name of its key; empty for a client of this machine.
    """

    ctl: bytes
    ticket: bytes
    client: Mapping[str, Any]
    data: bytes = b""
    key_name: str = ""
    heard: float = field(default_factory=time.monotonic)
    bad_messages: int = 0

    @property
    def name(self) -> str:
        """Who this is: its key's name, else the host's own name for itself; safe to log."""
        return self.key_name or clean(self.client.get("name", "?"))


@dataclass
class _Stranger:
    client: Mapping[str, Any]
    client_nonce: bytes
    server_nonce: bytes
    since: float


class Peers:
    """Takes what a gate receives and passes on what known peers say.

    welcome: called for a new peer with its ticket; returns the message that greets it.
    """

    def __init__(self, gate: Gate, token: bytes, welcome: Callable[[bytes], m.Welcome]) -> None:
        self._gate = gate
        self._token = token
        self._welcome = welcome
        self._strangers: dict[bytes, _Stranger] = {}
        self._by_ctl: dict[bytes, Peer] = {}
        self._by_data: dict[bytes, Peer] = {}
        self._tickets: dict[bytes, Peer] = {}
        self._dropped: list[Peer] = []
        self._look_at_keys = 0.0

    def __iter__(self) -> Any:
        return iter(list(self._by_ctl.values()))

    def __len__(self) -> int:
        return len(self._by_ctl)

    def hear(
        self, channel: str, routing_id: bytes, parts: list[Bytes]
    ) -> tuple[Peer, m.Message] | None:
        """Decode one message; returns it with its peer, or None when it was the handshake's.

        Errors are answered here: a peer whose messages are bad again and again is forgotten.
        """
        known = (self._by_ctl if channel == CTL else self._by_data).get(routing_id)
        try:
            message = decode(parts)
            if known is None:
                self._greet(channel, routing_id, message)
                return None
        except BridgeError as error:
            self._refuse(channel, routing_id, error, known)
            return None
        known.heard = time.monotonic()
        if isinstance(message, m.Bye):
            self.forget(known)
        return known, message

    def send(self, peer: Peer, channel: str, message: m.Message) -> None:
        """Send; a peer that is not there any more is forgotten at its next silence."""
        self.forward(peer, channel, encode(message))

    def forward(self, peer: Peer, channel: str, parts: list[Bytes]) -> None:
        """Send parts as they are."""
        address = peer.ctl if channel == CTL else peer.data
        if not address:
            return
        try:
            self._gate.send(channel, address, parts)
        except PeerGone as error:
            log.info("peer %s cannot be reached: %s", peer.name, error)

    def forget(self, peer: Peer) -> None:
        self._by_ctl.pop(peer.ctl, None)
        self._by_data.pop(peer.data, None)
        self._tickets.pop(peer.ticket, None)

    def is_there(self, peer: Peer) -> bool:
        """Whether its connection stands; a killed client is known so before it counts as silent."""
        try:
            self._gate.send(CTL, peer.ctl, encode(m.Event("there")))
        except PeerGone:
            return False
        return True

    def unsent(self, peer: Peer) -> int:
        """How many bytes of pixels wait until this peer reads them."""
        return self._gate.unsent(peer.data) if peer.data else 0

    def silent(self) -> list[Peer]:
        """Who is gone since the last call; they are forgotten here.

        Peers not heard for SILENCE_S, whose key was revoked, or that were cut off for bad messages.
        """
        now = time.monotonic()
        self._strangers = {
            key: stranger
            for key, stranger in self._strangers.items()
            if now - stranger.since < STRANGER_S
        }
        gone = [peer for peer in self._by_ctl.values() if now - peer.heard > SILENCE_S]
        if now >= self._look_at_keys:
            self._look_at_keys = now + KEYS_S
            heard = [peer for peer in self._by_ctl.values() if peer not in gone]
            gone += [peer for peer in heard if self._revoked(peer)]
        for peer in gone:
            self.forget(peer)
        dropped, self._dropped = self._dropped, []
        return gone + dropped

    def _revoked(self, peer: Peer) -> bool:
        """Its key is not let in any more; it is told so."""
        if not peer.key_name:
            return False
        try:
            return self._gate.key_name(peer.ctl) != peer.key_name
        except BridgeError as error:
            log.warning("%s: %s", peer.name, error.message)
            self._answer(CTL, peer.ctl, m.Bye("the key was revoked"))
            return True

    def _greet(self, channel: str, routing_id: bytes, message: m.Message) -> None:
        if channel == DATA:
            self._attach(routing_id, message)
        elif isinstance(message, m.Hello):
            self._challenge(routing_id, message)
        elif isinstance(message, m.Prove):
            self._admit(routing_id, message)
        else:
            raise BridgeError("auth", f"expected hello first, got {message.kind!r}")

    def _challenge(self, routing_id: bytes, hello: m.Hello) -> None:
        if hello.protocol[0] != PROTOCOL_MAJOR:
            raise BridgeError(
                "version", f"expected protocol {PROTOCOL_MAJOR}, got {hello.protocol[0]}"
            )
        self._gate.key_name(routing_id)
        door = routing_id[:1]
        waiting = sum(1 for stranger in self._strangers if stranger[:1] == door)
        if routing_id in self._strangers or waiting >= MAX_STRANGERS:
            raise BridgeError("busy", "too many connections wait for their proof", retry=True)
        nonce = os.urandom(NONCE_BYTES)
        self._strangers[routing_id] = _Stranger(hello.client, hello.nonce, nonce, time.monotonic())
        token = self._token_for(routing_id)
        answer = m.Challenge(nonce, proof(token, "server", hello.nonce, nonce))
        self._answer(CTL, routing_id, answer)

    def _admit(self, routing_id: bytes, message: m.Prove) -> None:
        stranger = self._strangers.pop(routing_id, None)
        token = self._token_for(routing_id)
        if stranger is None or not is_proof(
            message.proof, token, "client", stranger.client_nonce, stranger.server_nonce
        ):
            raise BridgeError("auth", "expected a proof of the connection file's token, got none")
        peer = Peer(routing_id, os.urandom(16), stranger.client)
        peer.key_name = self._gate.key_name(routing_id)
        greeting = self._welcome(peer.ticket)
        self._by_ctl[routing_id] = peer
        self._tickets[peer.ticket] = peer
        self._answer(CTL, routing_id, greeting)
        log.info("connected: %s %s", peer.name, clean(peer.client.get("version", "")))

    def _attach(self, routing_id: bytes, message: m.Message) -> None:
        peer = self._tickets.pop(message.ticket, None) if isinstance(message, m.Attach) else None
        if peer is None or self._gate.key_name(routing_id) != peer.key_name:
            raise BridgeError("auth", "expected the ticket of a ctl connection, got none")
        peer.data = routing_id
        self._by_data[routing_id] = peer
        self._answer(DATA, routing_id, m.Attached())

    def _token_for(self, routing_id: bytes) -> bytes:
        return KEYED_TOKEN if self._gate.key_name(routing_id) else self._token

    def _answer(self, channel: str, routing_id: bytes, message: m.Message) -> None:
        try:
            self._gate.send(channel, routing_id, encode(message))
        except PeerGone as error:
            log.debug("a stranger left: %s", error)

    def _refuse(
        self, channel: str, routing_id: bytes, error: BridgeError, known: Peer | None
    ) -> None:
        log.warning("refused a message: %s", clean(str(error)))
        self._answer(channel, routing_id, error_message(error))
        if known is not None:
            known.bad_messages += 1
            if known.bad_messages >= MAX_BAD_MESSAGES:
                self._answer(CTL, known.ctl, m.Bye("too many bad messages"))
                self.forget(known)
                self._dropped.append(known)


def error_message(
    error: BridgeError,
    *,
    session: bytes | None = None,
    q: int | None = None,
    request: int = 0,
) -> m.Error:
    """An exception as it travels; the texts are cut and cleaned."""
    return m.Error(
        error.code,
        clean(error.message, 1000),
        clean(error.hint, 500),
        error.retry,
        error.wait_ms,
        session,
        q,
        request,
    )


def clean(text: object, longest: int = 200) -> str:
    """A peer's text for logs and answers: cut, control characters replaced."""
    return "".join(c if c.isprintable() else "?" for c in str(text)[:longest])


def protocol() -> tuple[int, int]:
    return PROTOCOL_MAJOR, PROTOCOL_MINOR
