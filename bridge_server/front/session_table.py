"""The sessions of a front: what clients and the worker say of them, and whose turn it is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from bridge_server.effects import registry
from bridge_server.front.exemplars import ExemplarStore
from bridge_server.front.schedule import Scheduler
from bridge_server.front.sessions import (
    CREDIT_BYTES,
    MAX_CANCELS,
    MAX_FLUSHES,
    SessionRecord,
    Waiting,
)
from bridge_server.front.worker_link import WorkerLink
from bridge_server.peers import Peer, Peers, clean, error_message
from bridge_server.settings import Settings
from host_plugins.link import CTL, DATA
from host_plugins.wire import messages as m
from host_plugins.wire.buffers import FILE_ENCODINGS, Bytes
from host_plugins.wire.errors import BridgeError

log = logging.getLogger(__name__)

MAX_LOSSES = 3


class SessionTable:
    """All sessions of a server. Belongs to the front's thread.

    handlers: what to call for each kind of message that clients send on ctl.
    """

    def __init__(self, peers: Peers, worker: WorkerLink, settings: Settings) -> None:
        self._peers = peers
        self._worker = worker
        self._settings = settings
        self._sessions: dict[bytes, SessionRecord] = {}
        self._scheduler = Scheduler()
        self._exemplars = ExemplarStore()
        self.closed_to_new = False
        #: results that were sent again from those kept
        self.resent = 0
        self.handlers: dict[type[m.Message], Callable[[Peer, Any], None]] = {
            m.Open: self._open,
            m.Resume: self._resume,
            m.Ack: self._ack,
            m.Cancel: self._cancel,
            m.Flush: self._flush,
            m.Close: self._close,
            m.Bye: self._bye,
        }

    def __iter__(self) -> Iterator[SessionRecord]:
        return iter(list(self._sessions.values()))

    @property
    def busy(self) -> bool:
        """Something runs, or a result waits for its acknowledgement."""
        return any(record.running or record.results for record in self)

    def find(self, session: bytes | None) -> SessionRecord | None:
        return self._sessions.get(session) if session else None

    def drop_queues(self) -> None:
        """Forget frames that were not begun; they are the clients' to send again."""
        for record in self:
            record.queue.clear()

    def refused(self, session: bytes | None, error: BridgeError) -> None:
        """A message of this session was refused; the third breach of credit ends it."""
        if error.code == "no_credit" and not error.retry and session in self._sessions:
            self._end(self._sessions[session])

    # --- from clients ---

    def _open(self, peer: Peer, request: m.Open) -> None:
        if self.closed_to_new:
            raise BridgeError("shutting_down", "expected a running server, got one that stops")
        if len(self._sessions) >= self._settings.max_sessions:
            raise BridgeError(
                "busy",
                f"expected fewer than {self._settings.max_sessions} sessions, all are taken",
                retry=True,
                wait_ms=5000,
            )
        effect = registry.find(request.effect)
        context: Any = request.context
        parameters = effect.describe_in_context(context).effective(request.parameters)
        unavailable = effect.unavailable()
        if unavailable is not None:
            raise unavailable
        record = SessionRecord(
            peer=peer,
            effect=effect.id,
            parameters=parameters,
            exemplars=_exemplar_refs(request.exemplars),
            want=_checked_want(request.want),
            priority=request.priority,
            job=request.job,
            total=request.total,
            user=peer.name,
            context=request.context,
        )
        self._take_over(record)
        self._sessions[record.id] = record
        self._scheduler.admit(record)
        record.opening = request.request
        if self._worker.up:
            self._open_on_worker(record)

    def _take_over(self, record: SessionRecord) -> None:
        """A client that opens a job again ends the session that its old self left."""
        for old in list(self._sessions.values()):
            same = old.job == record.job and old.user == record.user
            if record.job and same and (old.peer is None or not self._peers.is_there(old.peer)):
                self._end(old)

    def _open_on_worker(self, record: SessionRecord, *, upto: int | None = None) -> None:
        record.on_worker = True
        want = record.want if upto is None else {**record.want, "upto": upto}
        refs = tuple({"id": digest, "fr": index} for digest, index in record.exemplars.items())
        self._worker.send(
            CTL,
            m.Open(
                record.effect,
                record.parameters,
                refs,
                record.context,
                want,
                record.priority,
                # saved states are never shared between users
                f"{record.user}: {record.job}" if record.job else "",
                session=record.id,
                epoch=record.epoch,
            ),
        )

    def exemplar(self, peer: Peer, exemplar: m.Exemplar, parts: list[Bytes]) -> None:
        record = self._session(peer, exemplar.session)
        if record.ready or exemplar.digest not in record.need:
            record.accept_exemplar(exemplar)
        self._exemplars.put(exemplar)
        if exemplar.digest in record.need and not record.ready:
            record.need.discard(exemplar.digest)
            self._worker.forward(DATA, parts)
        else:
            record.queue.append(Waiting(exemplar, parts))

    def frame(self, peer: Peer, frame: m.Frame, parts: list[Bytes]) -> None:
        record = self._session(peer, frame.session)
        kept = record.accept(frame, parts)
        if kept is not None:
            self.resent += 1
            self._peers.forward(peer, DATA, kept)

    def _ack(self, peer: Peer, ack: m.Ack) -> None:
        record = self._sessions.get(ack.session)
        if record is None or record.peer is not peer:
            return
        frames, size = record.acknowledge(ack.q)
        if frames:
            self._peers.send(peer, CTL, m.Credit(record.id, (frames, size)))

    def _resume(self, peer: Peer, resume: m.Resume) -> None:
        record = self._sessions.get(resume.session)
        if record is None or (peer.key_name and record.user != peer.key_name):
            raise BridgeError("unknown_session", "expected a session that is kept, got another")
        if record.peer is not None and record.peer is not peer:
            self._peers.forget(record.peer)
        record.peer = peer
        record.acknowledge(resume.q)
        record.touched = time.monotonic()
        wanted = m.Resumed(
            record.id,
            record.next_q,
            record.epoch,
            record.credit_left,
            tuple(record.need),
            resume.request,
        )
        self._peers.send(peer, CTL, wanted)
        self._send_kept(record)

    def _send_kept(self, record: SessionRecord) -> None:
        for q in sorted(record.results):
            if record.peer is not None:
                self.resent += 1
                self._peers.forward(record.peer, DATA, record.results[q])

    def _cancel(self, peer: Peer, cancel: m.Cancel) -> None:
        record = self._session(peer, cancel.session)
        if len(record.cancels) >= MAX_CANCELS:
            raise BridgeError("busy", "expected fewer cancels at once, got one more", retry=True)
        record.queue = type(record.queue)(
            w for w in record.queue if isinstance(w.message, m.Exemplar)
        )
        if record.on_worker and self._worker.up:
            record.cancels.append(cancel.request)
            self._worker.send(CTL, m.Cancel(record.id, cancel.request))
        else:
            self._cancelled(record, m.Cancelled(record.id, record.acked, record.epoch + 1, (0, 0)))

    def _flush(self, peer: Peer, flush: m.Flush) -> None:
        record = self._session(peer, flush.session)
        if len(record.flushes) >= MAX_FLUSHES:
            raise BridgeError("busy", "expected fewer flushes at once, got one more", retry=True)
        record.flushes.append((flush.request, record.next_q))
        self._answer_flushes(record)

    def _close(self, peer: Peer, close: m.Close) -> None:
        record = self._session(peer, close.session)
        self._end(record)
        self._peers.send(peer, CTL, m.Closed(close.session, close.request))

    def _bye(self, peer: Peer, bye: m.Bye) -> None:
        for record in list(self._sessions.values()):
            if record.peer is peer:
                self._end(record)

    # --- from the worker ---

    def from_worker(self, message: m.Message, parts: list[Bytes]) -> None:
        session: bytes | None = getattr(message, "session", None)
        record = self._sessions.get(session) if session else None
        if isinstance(message, m.Result):
            self._worker.took_back(message.session, message.q)
            if record is not None:
                self._result(record, message, parts)
        elif record is None:
            return
        elif isinstance(message, m.Opened):
            record.touched = time.monotonic()  # loading may take longer than one may be idle
            self._opened(record, message)
        elif isinstance(message, m.Ready):
            record.ready = True
            record.touched = time.monotonic()
            self._tell(record, message)
        elif isinstance(message, m.Cancelled):
            self._cancelled(record, message)
        elif isinstance(message, m.Rewind):
            self._worker.took_back(record.id)
            if message.q > record.first_missing:
                self._begin_anew(record)
            else:
                record.rewind(message.q, message.epoch)
                self._rewind(record)
        elif isinstance(message, m.Error):
            # while the session opens, the client waits for the answer to that request
            self._tell(record, replace(message, request=record.opening or message.request))
            self._end(record, tell_worker=False)
        elif isinstance(message, m.Event):
            told = m.Event(message.name, message.data, record.id, record.opening or 0)
            self._tell(record, told)

    def _opened(self, record: SessionRecord, opened: m.Opened) -> None:
        """The worker has the session: give it the exemplars, tell the client where to begin."""
        if record.opening is None and opened.next_q > record.first_missing:
            self._begin_anew(record)
            return
        record.need = {digest for digest in opened.need if digest not in self._exemplars}
        for digest in opened.need:
            if digest in self._exemplars:
                kept = self._exemplars.get(digest)
                message = m.Exemplar(record.id, digest, kept.buffers, record.exemplars[digest], 0)
                self._worker.send(DATA, message)
        need = tuple(record.need)
        if record.opening is not None:
            record.next_q = record.acked = opened.next_q
            request, record.opening = record.opening, None
            answer = m.Opened(record.id, record.epoch, record.credit, need, opened.next_q, request)
            self._tell(record, answer)
            return
        record.rewind(opened.next_q, record.epoch)
        self._rewind(record)

    def _begin_anew(self, record: SessionRecord) -> None:
        """The saved state is ahead of results that went with the worker: make them again."""
        self._worker.send(CTL, m.Close(record.id))
        record.rewind(record.first_missing, record.epoch + 1)
        record.ready = False
        self._open_on_worker(record, upto=record.first_missing)

    def _rewind(self, record: SessionRecord) -> None:
        """Ask the client for frames again from where the state is; results before it are kept."""
        need = tuple(record.need)
        told = (record.id, record.next_q, record.acked, record.epoch, record.credit_left, need)
        self._tell(record, m.Rewind(*told))
        self._send_kept(record)

    def _result(self, record: SessionRecord, result: m.Result, parts: list[Bytes]) -> None:
        seconds = float(result.times_us.get("total", 0)) / 1e6
        self._scheduler.charge(record, seconds)
        record.device_s += seconds
        if record.finish(result, parts):
            if record.peer is not None:
                self._peers.forward(record.peer, DATA, parts)
            self._answer_flushes(record)

    def _cancelled(self, record: SessionRecord, answer: m.Cancelled) -> None:
        request = record.cancels.pop(0) if record.cancels else answer.request
        self._worker.took_back(record.id)
        record.restart(answer.q)
        record.epoch = answer.epoch
        self._tell(record, m.Cancelled(record.id, answer.q, answer.epoch, record.credit, request))

    def worker_died(self) -> None:
        """Every session's state went with it; each is opened again once a new worker is up."""
        for record in list(self._sessions.values()):
            if not record.on_worker:
                continue
            record.losses += 1
            record.on_worker = record.ready = False
            if record.losses >= MAX_LOSSES:
                error = BridgeError(
                    "worker_lost", f"the worker died {record.losses} times on this session"
                )
                self._tell(record, error_message(error, session=record.id))
                self._end(record, tell_worker=False)
                continue
            if record.opening is None:
                record.rewind(record.first_missing, record.epoch + 1)
                text = "the worker was lost and starts again; frames are sent once more"
                data = {"tries": record.losses, "text": text}
                self._tell(record, m.Event("worker_lost", data, record.id))

    def reopen_lost(self) -> None:
        for record in self._sessions.values():
            if not record.on_worker:
                opened_before = record.opening is None
                self._open_on_worker(record, upto=record.first_missing if opened_before else None)

    # --- what is due ---

    def pump(self) -> None:
        """Give the worker frames while it has room, by the scheduler's choice."""
        while self._worker.has_room:
            waiting = [r for r in self._sessions.values() if r.has_work and not self._unread(r)]
            chosen = self._scheduler.choose(waiting)
            if chosen is None:
                return
            record = self._sessions[chosen.id]
            item = record.queue.popleft()
            if isinstance(item.message, m.Frame):
                record.running[item.message.q] = item
                self._worker.give(record.id, item.message.q, item.parts)
            else:
                self._worker.forward(DATA, item.parts)

    def _unread(self, record: SessionRecord) -> bool:
        """Its client does not read what is sent: nothing more is made for it until it does."""
        return record.peer is not None and self._peers.unsent(record.peer) > CREDIT_BYTES

    def sweep(self) -> None:
        """Park sessions of silent clients; close those that nobody touched for long."""
        for peer in self._peers.silent():
            log.info("%s is gone", peer.name)
            for record in self._sessions.values():
                if record.peer is peer:
                    record.peer = None
        now = time.monotonic()
        for record in list(self._sessions.values()):
            limit = self._settings.grace_s if record.peer is None else self._settings.idle_s
            waits = record.opening is not None or (record.queue and not self._unread(record))
            busy = record.running or waits
            if now - record.touched > limit and not (busy and record.peer is not None):
                log.info("session %s ends: idle for %.0f s", record.id.hex()[:8], limit)
                error = BridgeError("unknown_session", f"idle for {limit:.0f} s, it was closed")
                self._tell(record, error_message(error, session=record.id))
                self._end(record)

    def _answer_flushes(self, record: SessionRecord) -> None:
        pending = [q for q in record.running] + [
            w.message.q for w in record.queue if isinstance(w.message, m.Frame)
        ]
        oldest = min(pending, default=record.next_q)
        due = [item for item in record.flushes if item[1] <= oldest]
        record.flushes = [item for item in record.flushes if item[1] > oldest]
        for request, q in due:
            if record.peer is not None:
                self._peers.send(record.peer, DATA, m.Flushed(record.id, q, request))

    def _end(self, record: SessionRecord, *, tell_worker: bool = True) -> None:
        self._sessions.pop(record.id, None)
        self._worker.took_back(record.id)
        if tell_worker and record.on_worker:
            self._worker.send(CTL, m.Close(record.id))
        others = any(other.user == record.user for other in self._sessions.values())
        self._scheduler.dismiss(record, last_of_user=not others)

    def _session(self, peer: Peer, session: bytes) -> SessionRecord:
        record = self._sessions.get(session)
        if record is None or record.peer is not peer:
            raise BridgeError("unknown_session", "expected a session of this client, got another")
        return record

    def _tell(self, record: SessionRecord, message: m.Message) -> None:
        if record.peer is not None:
            self._peers.send(record.peer, CTL, message)


def _exemplar_refs(refs: tuple[Mapping[str, Any], ...]) -> dict[bytes, int | None]:
    if not refs:
        raise BridgeError("exemplar_missing", "expected at least one exemplar, got none")
    checked: dict[bytes, int | None] = {}
    for ref in refs:
        digest, index = ref.get("id"), ref.get("fr")
        if type(digest) is not bytes or len(digest) != 32 or type(index) not in (int, type(None)):
            raise BridgeError("bad_header", "expected exemplars as {id: 32 bytes, fr: int or nil}")
        checked[digest] = index
    return checked


def _checked_want(want: Mapping[str, Any]) -> Mapping[str, Any]:
    allowed: dict[str, tuple[object, ...]] = {
        "dtype": ("<f2", "<f4"),
        "confidence": (True, False),
        "encoding": FILE_ENCODINGS,
    }
    for name, value in want.items():
        if name == "upto" and type(value) is int and value >= 0:
            continue
        if value not in allowed.get(name, ()):
            raise BridgeError(
                "bad_header",
                f"expected want of dtype <f2 or <f4, confidence, upto from 0 on, encoding of "
                f"{', '.join(FILE_ENCODINGS)}; got {clean(name)} = {clean(value)}",
            )
    return want
