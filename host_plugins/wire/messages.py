"""Every message of the protocol as a frozen dataclass; one field, one short wire key, one check.

The direction stands behind each name: C client to server, S server to client. `request` numbers an
exchange: the answer, or the error, carries the number that the request bore.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, Optional, TypeVar

from host_plugins.wire import fields as f
from host_plugins.wire.buffers import Buffer, buffer_specs
from host_plugins.wire.errors import BridgeError


def key(name: str, check: f.Check, default: Any = MISSING) -> Any:
    """Declare a field: its wire key, its check, and its default when it may be absent."""
    return field(default=default, metadata={"key": name, "check": check})


def optional_map(name: str) -> Any:
    """Declare a map that may be absent and is then empty."""
    return field(default_factory=dict, metadata={"key": name, "check": f.plain_map})


@dataclass(frozen=True)
class Message:
    """What all messages share: a kind, and buffers on those that carry pixels."""

    kind: ClassVar[str] = ""
    carries_buffers: ClassVar[bool] = False

    @property
    def payload(self) -> tuple[Buffer, ...]:
        """The buffers that travel behind the header; empty for most kinds."""
        return ()


def _request() -> Any:
    return key("i", f.u32, 0)


# --- the connection -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hello(Message):
    """C, first on ctl: who is there, and a nonce for the token's proof."""

    kind: ClassVar[str] = "hello"
    protocol: tuple[int, int] = key("p", f.pair(f.u8))
    client: Mapping[str, Any] = key("c", f.plain_map)
    nonce: bytes = key("n", f.blob(16))
    capabilities: tuple[str, ...] = key("caps", f.listing(f.text), ())


@dataclass(frozen=True)
class Challenge(Message):
    """S: the server's nonce, and its own proof that it knows the token."""

    kind: ClassVar[str] = "challenge"
    nonce: bytes = key("n", f.blob(16))
    proof: bytes = key("proof", f.blob(32))


@dataclass(frozen=True)
class Prove(Message):
    """C: the client's proof that it knows the token."""

    kind: ClassVar[str] = "prove"
    proof: bytes = key("proof", f.blob(32))


@dataclass(frozen=True)
class Welcome(Message):
    """S: the connection stands; what this server is and can, and the ticket for the data socket."""

    kind: ClassVar[str] = "welcome"
    protocol: tuple[int, int] = key("p", f.pair(f.u8))
    server: Mapping[str, Any] = key("sv", f.plain_map)
    boot: bytes = key("boot", f.blob(16))
    ticket: bytes = key("ticket", f.blob(16))
    capabilities: tuple[str, ...] = key("caps", f.listing(f.text), ())
    effects: tuple[str, ...] = key("effects", f.listing(f.text), ())


@dataclass(frozen=True)
class Attach(Message):
    """C, first on data: joins this socket to the client that holds the ticket."""

    kind: ClassVar[str] = "attach"
    ticket: bytes = key("ticket", f.blob(16))


@dataclass(frozen=True)
class Attached(Message):
    """S, on data."""

    kind: ClassVar[str] = "attached"


@dataclass(frozen=True)
class Ping(Message):
    """C, every second on ctl."""

    kind: ClassVar[str] = "ping"
    request: int = _request()


@dataclass(frozen=True)
class Pong(Message):
    """S, at once, however busy the GPU is."""

    kind: ClassVar[str] = "pong"
    boot: bytes = key("boot", f.blob(16))
    state: str = key("st", f.text)
    step_ms: int = key("age", f.u32, 0)
    request: int = _request()


@dataclass(frozen=True)
class Status(Message):
    """C asks with an empty map; S answers with the map that `chromabridge status` shows."""

    kind: ClassVar[str] = "status"
    data: Mapping[str, Any] = optional_map("d")
    request: int = _request()


@dataclass(frozen=True)
class Stop(Message):
    """C: drain and stop the server; only over a connection that proved the token."""

    kind: ClassVar[str] = "stop"
    request: int = _request()


@dataclass(frozen=True)
class Bye(Message):
    """Either side: this connection ends now."""

    kind: ClassVar[str] = "bye"
    reason: str = key("why", f.text, "")


@dataclass(frozen=True)
class Error(Message):
    """S: a request, a frame or a session failed; see docs/protocol.md for the codes."""

    kind: ClassVar[str] = "error"
    code: str = key("code", f.text)
    message: str = key("msg", f.text)
    hint: str = key("hint", f.text, "")
    retry: bool = key("retry", f.flag, False)
    wait_ms: Optional[int] = key("wait_ms", f.u32, None)
    session: Optional[bytes] = key("s", f.session_id, None)
    q: Optional[int] = key("q", f.u64, None)
    request: int = _request()

    def exception(self) -> BridgeError:
        return BridgeError(
            self.code, self.message, hint=self.hint, retry=self.retry, wait_ms=self.wait_ms
        )


# --- effects and sessions -------------------------------------------------------------------------


@dataclass(frozen=True)
class Describe(Message):
    """C: describe one effect in one context."""

    kind: ClassVar[str] = "describe"
    effect: str = key("effect", f.text)
    context: str = key("ctx", f.one_of("filter", "general"), "filter")
    request: int = _request()


@dataclass(frozen=True)
class Described(Message):
    """S: the descriptor that a host builds its panel from."""

    kind: ClassVar[str] = "described"
    effect: str = key("effect", f.text)
    descriptor: Mapping[str, Any] = key("d", f.plain_map)
    request: int = _request()


@dataclass(frozen=True)
class Open(Message):
    """C: begin a session. Exemplars are named by digest; the server says which it lacks."""

    kind: ClassVar[str] = "open"
    effect: str = key("effect", f.text)
    parameters: Mapping[str, Any] = optional_map("params")
    exemplars: tuple[Mapping[str, Any], ...] = key("x", f.listing(f.plain_map), ())
    context: str = key("ctx", f.one_of("filter", "general"), "filter")
    want: Mapping[str, Any] = optional_map("want")
    priority: int = key("pr", f.integer(0, 2), 2)
    job: str = key("job", f.text, "")
    #: how many frames the job has, for those who watch it; 0 when nobody knows
    total: int = key("n", f.u64, 0)
    #: from the front to its worker: the id that the client knows
    session: Optional[bytes] = key("s", f.session_id, None)
    #: from the front to its worker: the epoch that this state begins with
    epoch: int = key("ep", f.u64, 0)
    request: int = _request()


@dataclass(frozen=True)
class Opened(Message):
    """S: the session's id, its credit, the exemplars to send, and the first frame it wants."""

    kind: ClassVar[str] = "opened"
    session: bytes = key("s", f.session_id)
    epoch: int = key("ep", f.u64)
    credit: tuple[int, int] = key("cr", f.credit_pair)
    need: tuple[bytes, ...] = key("need", f.listing(f.digest), ())
    next_q: int = key("q", f.u64, 0)
    request: int = _request()


@dataclass(frozen=True)
class Ready(Message):
    """S: network and exemplars are in place; what the session really runs with."""

    kind: ClassVar[str] = "ready"
    session: bytes = key("s", f.session_id)
    effective: Mapping[str, Any] = optional_map("eff")
    warnings: tuple[str, ...] = key("w", f.listing(f.text), ())


@dataclass(frozen=True)
class Exemplar(Message):
    """C, on data: one exemplar's picture, for a session or for the store it may be asked from.

    `at` is the sequence number before which it takes effect; frames below it do not see it.
    """

    kind: ClassVar[str] = "exemplar"
    carries_buffers: ClassVar[bool] = True
    session: bytes = key("s", f.session_id)
    digest: bytes = key("id", f.digest)
    buffers: tuple[Buffer, ...] = key("bufs", buffer_specs)
    index: Optional[int] = key("fr", f.frame_number, None)
    at: int = key("q", f.u64, 0)

    @property
    def payload(self) -> tuple[Buffer, ...]:
        return self.buffers


@dataclass(frozen=True)
class Frame(Message):
    """C, on data: one frame of the clip. `cut` begins a new shot with this frame."""

    kind: ClassVar[str] = "frame"
    carries_buffers: ClassVar[bool] = True
    session: bytes = key("s", f.session_id)
    q: int = key("q", f.u64)
    epoch: int = key("ep", f.u64)
    index: int = key("fr", f.frame_number)
    buffers: tuple[Buffer, ...] = key("bufs", buffer_specs)
    cut: bool = key("cut", f.flag, False)
    ack: Optional[int] = key("ack", f.u64, None)
    #: run for its effect on the state only; the server answers without pixels
    silent: bool = key("mute", f.flag, False)

    @property
    def payload(self) -> tuple[Buffer, ...]:
        return self.buffers


@dataclass(frozen=True)
class Result(Message):
    """S, on data: the colors of one frame, how long each stage took, and what was not as asked."""

    kind: ClassVar[str] = "result"
    carries_buffers: ClassVar[bool] = True
    session: bytes = key("s", f.session_id)
    q: int = key("q", f.u64)
    epoch: int = key("ep", f.u64)
    index: int = key("fr", f.frame_number)
    buffers: tuple[Buffer, ...] = key("bufs", buffer_specs, ())
    times_us: Mapping[str, Any] = optional_map("tm")
    degraded: tuple[str, ...] = key("deg", f.listing(f.text), ())
    #: frames below this one are never asked for again: the state that holds them is on disk
    saved: Optional[int] = key("saved", f.u64, None)

    @property
    def payload(self) -> tuple[Buffer, ...]:
        return self.buffers


@dataclass(frozen=True)
class Ack(Message):
    """C: every result below `q` is in the host's hands and need not be kept."""

    kind: ClassVar[str] = "ack"
    session: bytes = key("s", f.session_id)
    q: int = key("q", f.u64)


@dataclass(frozen=True)
class Credit(Message):
    """S: so many frames and bytes more may be on their way."""

    kind: ClassVar[str] = "credit"
    session: bytes = key("s", f.session_id)
    credit: tuple[int, int] = key("cr", f.credit_pair)


@dataclass(frozen=True)
class Rewind(Message):
    """S: the state was lost; send frames again from `q`, results below `keep` are not needed."""

    kind: ClassVar[str] = "rewind"
    session: bytes = key("s", f.session_id)
    q: int = key("q", f.u64)
    keep: int = key("keep", f.u64)
    epoch: int = key("ep", f.u64)
    credit: tuple[int, int] = key("cr", f.credit_pair)
    need: tuple[bytes, ...] = key("need", f.listing(f.digest), ())


@dataclass(frozen=True)
class Resume(Message):
    """C, on a new connection: take up a session again; results below `q` are in my hands."""

    kind: ClassVar[str] = "resume"
    session: bytes = key("s", f.session_id)
    q: int = key("q", f.u64)
    request: int = _request()


@dataclass(frozen=True)
class Resumed(Message):
    """S: send frames again from `q`; what lies between the two is computed or kept here."""

    kind: ClassVar[str] = "resumed"
    session: bytes = key("s", f.session_id)
    q: int = key("q", f.u64)
    epoch: int = key("ep", f.u64)
    credit: tuple[int, int] = key("cr", f.credit_pair)
    need: tuple[bytes, ...] = key("need", f.listing(f.digest), ())
    request: int = _request()


@dataclass(frozen=True)
class Cancel(Message):
    """C, on ctl: drop what is queued; overtakes every frame."""

    kind: ClassVar[str] = "cancel"
    session: bytes = key("s", f.session_id)
    request: int = _request()


@dataclass(frozen=True)
class Cancelled(Message):
    """S: `q` is the next frame the state would take; results come with epoch `ep` from now on."""

    kind: ClassVar[str] = "cancelled"
    session: bytes = key("s", f.session_id)
    q: int = key("q", f.u64)
    epoch: int = key("ep", f.u64)
    credit: tuple[int, int] = key("cr", f.credit_pair)
    request: int = _request()


@dataclass(frozen=True)
class Flush(Message):
    """C: tell me when every frame sent so far has its result."""

    kind: ClassVar[str] = "flush"
    session: bytes = key("s", f.session_id)
    request: int = _request()


@dataclass(frozen=True)
class Flushed(Message):
    """S, on data, behind the last result."""

    kind: ClassVar[str] = "flushed"
    session: bytes = key("s", f.session_id)
    q: int = key("q", f.u64)
    request: int = _request()


@dataclass(frozen=True)
class Event(Message):
    """S: something worth showing, such as the loading of a network; answers nothing.

    `request` names the open that it belongs to, as long as that has no answer.
    """

    kind: ClassVar[str] = "event"
    name: str = key("k", f.text)
    data: Mapping[str, Any] = optional_map("d")
    session: Optional[bytes] = key("s", f.session_id, None)
    request: int = _request()


@dataclass(frozen=True)
class Close(Message):
    """C: the session is over; its state may go."""

    kind: ClassVar[str] = "close"
    session: bytes = key("s", f.session_id)
    request: int = _request()


@dataclass(frozen=True)
class Closed(Message):
    """S."""

    kind: ClassVar[str] = "closed"
    session: bytes = key("s", f.session_id)
    request: int = _request()


KINDS: Mapping[str, type[Message]] = {cls.kind: cls for cls in Message.__subclasses__()}

AnyMessage = TypeVar("AnyMessage", bound=Message)


def to_map(message: Message) -> dict[str, Any]:
    """The header map of a message; absent values are left out."""
    header: dict[str, Any] = {"t": message.kind}
    for item in fields(message):
        value = getattr(message, item.name)
        if item.name == "buffers":
            header["bufs"] = [buffer.spec() for buffer in value]
        elif value != _default(item):
            header[item.metadata["key"]] = item.metadata["check"](item.name, value)
    return header


def from_map(header: Mapping[str, Any]) -> Message:
    """Build the message of a header map; buffers hold specs without data.

    Raises BridgeError `bad_header`, or `unsupported` for a kind that is not known.
    """
    kind = header.get("t")
    if type(kind) is not str:
        raise f.bad("t", "a message kind", kind)
    cls = KINDS.get(kind)
    if cls is None:
        raise BridgeError("unsupported", f"expected a known message kind, got {kind[:40]!r}")
    values: dict[str, Any] = {}
    for item in fields(cls):
        wire_key, check = item.metadata["key"], item.metadata["check"]
        value = header.get(wire_key)
        if value is not None:
            values[item.name] = check(wire_key, value)
        elif _default(item) is MISSING:
            raise BridgeError("bad_header", f"{kind}: expected field {wire_key!r}, it is missing")
    return cls(**values)


def _default(item: Field[Any]) -> Any:
    """A field's default value, or MISSING when it must be given."""
    return item.default if item.default_factory is MISSING else item.default_factory()
