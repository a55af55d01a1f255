"""The front process: takes messages from clients, keeps their sessions, feeds the workers.

One thread, one poller. It answers ping, status and cancel at once, however busy a worker is.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import zmq

from bridge_server import __version__
from bridge_server.effects import registry
from bridge_server.front.exemplars import ExemplarStore
from bridge_server.front.schedule import Scheduler
from bridge_server.front.sessions import SessionRecord, Waiting
from bridge_server.front.worker_link import WorkerLink
from bridge_server.gate import Gate
from bridge_server.peers import Peer, Peers, clean, error_message, protocol
from bridge_server.settings import Settings
from host_plugins import places
from host_plugins.launch import ConnectionInfo
from host_plugins.link import CTL, DATA
from host_plugins.wire import messages as m
from host_plugins.wire.buffers import FILE_ENCODINGS, Bytes
from host_plugins.wire.errors import BridgeError

log = logging.getLogger(__name__)

TICK_S = 0.25
LONGEST_IPC_PATH = 100
MAX_LOSSES = 3
CAPABILITIES = ("resume", "rewind", "confidence")


class Front:
    """See the module. `run` returns when the server has stopped."""

    def __init__(
        self, settings: Settings, *, file: Path, home: Path, log_json: bool = False
    ) -> None:
        self._settings = settings
        self._file = file
        self._boot = os.urandom(16)
        self._started = time.time()
        self._context = zmq.Context(io_threads=1)
        self._gate = Gate(self._context)
        self._poller = zmq.Poller()
        self._token = os.urandom(32)
        self._peers = Peers(self._gate, self._token, self._welcome)
        self._sessions: dict[bytes, SessionRecord] = {}
        self._scheduler = Scheduler()
        self._exemplars = ExemplarStore()
        self._stopping: float | None = None
        self._worker = WorkerLink(
            "worker-0",
            context=self._context,
            poller=self._poller,
            folder=file.parent,
            home=home,
            settings=asdict(settings),
            log_json=log_json,
        )
        self._endpoints = self._bind()
        self._handlers: dict[type[m.Message], Callable[[Peer, Any], None]] = {
            m.Ping: self._ping,
            m.Status: self._status,
            m.Describe: self._describe,
            m.Open: self._open,
            m.Resume: self._resume,
            m.Ack: self._ack,
            m.Cancel: self._cancel,
            m.Flush: self._flush,
            m.Close: self._close,
            m.Stop: self._stop,
            m.Bye: self._bye,
        }

    @property
    def info(self) -> ConnectionInfo:
        return ConnectionInfo(self._endpoints, self._token, self._boot, os.getpid(), __version__)

    def run(self, ready: Callable[[ConnectionInfo], None] | None = None) -> None:
        """Serve until a signal or a stop message. ready: called once clients may connect."""
        self._gate.register(self._poller)
        wakee = self._catch_signals()
        self._poller.register(wakee, zmq.POLLIN)
        self._worker.tend()
        self.info.save(self._file)
        if ready is not None:
            ready(self.info)
        try:
            while self._stopping is None or not self._drained():
                self._poller.poll(int(TICK_S * 1000))
                with suppress(BlockingIOError):
                    wakee.recv(64)
                self._turn()
        finally:
            self._shut_down()

    def _turn(self) -> None:
        """One round: what clients said, what the worker said, and whatever is due."""
        for channel, routing_id, parts in self._gate.receive():
            heard = self._peers.hear(channel, routing_id, parts)
            if heard is not None:
                self._take(channel, *heard, parts)
        for message, parts in self._worker.receive():
            self._from_worker(message, parts)
        if self._worker.tend():
            self._worker_died()
        if self._worker.up:
            self._reopen_lost()
        self._pump()
        self._sweep()

    # --- from clients ---

    def _take(self, channel: str, peer: Peer, message: m.Message, parts: list[Bytes]) -> None:
        session: bytes | None = getattr(message, "session", None)
        try:
            if isinstance(message, m.Frame) and channel == DATA:
                self._frame(peer, message, parts)
            elif isinstance(message, m.Exemplar) and channel == DATA:
                self._exemplar(peer, message, parts)
            elif type(message) in self._handlers and channel == CTL:
                self._handlers[type(message)](peer, message)
            else:
                raise BridgeError("unsupported", f"{message.kind!r} has no place on {channel}")
        except BridgeError as error:
            number = getattr(message, "request", 0)
            q = getattr(message, "q", None)
            answer = error_message(error, session=session, q=q, request=number)
            self._peers.send(peer, CTL, answer)
            if error.code == "no_credit" and not error.retry and session in self._sessions:
                self._end(self._sessions[session])
        except Exception:
            log.exception("%s failed", message.kind)
            failure = BridgeError("internal", f"expected {message.kind} to work, it failed")
            number = getattr(message, "request", 0)
            answer = error_message(failure, session=session, request=number)
            self._peers.send(peer, CTL, answer)

    def _welcome(self, ticket: bytes) -> m.Welcome:
        told = {"name": "chromabridge", "version": __version__, "pid": os.getpid()}
        return m.Welcome(protocol(), told, self._boot, ticket, CAPABILITIES, registry.offered())

    def _ping(self, peer: Peer, ping: m.Ping) -> None:
        state = "stopping" if self._stopping else "busy" if self._worker.running else "idle"
        if not self._worker.up:
            state = "starting"
        age = self._worker.pong.step_ms if self._worker.pong else 0
        self._peers.send(peer, CTL, m.Pong(self._boot, state, age, ping.request))

    def _status(self, peer: Peer, request: m.Status) -> None:
        self._peers.send(peer, CTL, m.Status(self.status(), request.request))

    def _describe(self, peer: Peer, request: m.Describe) -> None:
        effect = registry.find(request.effect)
        context: Any = request.context
        descriptor = effect.describe_in_context(context).to_map()
        self._peers.send(peer, CTL, m.Described(effect.id, descriptor, request.request))

    def _open(self, peer: Peer, request: m.Open) -> None:
        if self._stopping is not None:
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
        """A client that opens a job again ends the parked session that its old self left."""
        for old in list(self._sessions.values()):
            if record.job and old.job == record.job and old.peer is None:
                self._end(old)

    def _open_on_worker(self, record: SessionRecord) -> None:
        record.on_worker = True
        refs = tuple({"id": digest, "fr": index} for digest, index in record.exemplars.items())
        self._worker.send(
            CTL,
            m.Open(
                record.effect,
                record.parameters,
                refs,
                record.context,
                record.want,
                record.priority,
                record.job,
                record.id,
                record.epoch,
            ),
        )

    def _exemplar(self, peer: Peer, exemplar: m.Exemplar, parts: list[Bytes]) -> None:
        record = self._session(peer, exemplar.session)
        self._exemplars.put(exemplar)
        if exemplar.digest in record.need and not record.ready:
            record.need.discard(exemplar.digest)
            self._worker.forward(DATA, parts)
        else:
            record.queue.append(Waiting(exemplar, parts))

    def _frame(self, peer: Peer, frame: m.Frame, parts: list[Bytes]) -> None:
        record = self._session(peer, frame.session)
        kept = record.accept(frame, parts)
        if kept is not None:
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
        if record is None:
            raise BridgeError("unknown_session", "expected a session that is kept, got another")
        if record.peer is not None and record.peer is not peer:
            self._peers.forget(record.peer)
        record.peer = peer
        record.acknowledge(resume.q)
        record.touched = time.monotonic()
        free = record.credit_frames - len(record.costs)
        wanted = m.Resumed(
            record.id,
            record.next_q,
            record.epoch,
            (max(0, free), record.credit[1]),
            tuple(record.need),
            resume.request,
        )
        self._peers.send(peer, CTL, wanted)
        for q in sorted(record.results):
            self._peers.forward(peer, DATA, record.results[q])

    def _cancel(self, peer: Peer, cancel: m.Cancel) -> None:
        record = self._session(peer, cancel.session)
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
        record.flushes.append((flush.request, record.next_q))
        self._answer_flushes(record)

    def _close(self, peer: Peer, close: m.Close) -> None:
        record = self._session(peer, close.session)
        self._end(record)
        self._peers.send(peer, CTL, m.Closed(close.session, close.request))

    def _stop(self, peer: Peer, stop: m.Stop) -> None:
        log.info("%s asks to stop", peer.name)
        self._peers.send(peer, CTL, m.Stop(stop.request))
        self._begin_stop()

    def _bye(self, peer: Peer, bye: m.Bye) -> None:
        for record in list(self._sessions.values()):
            if record.peer is peer:
                self._end(record)

    # --- from the worker ---

    def _from_worker(self, message: m.Message, parts: list[Bytes]) -> None:
        session: bytes | None = getattr(message, "session", None)
        record = self._sessions.get(session) if session else None
        if isinstance(message, m.Result):
            self._worker.running = max(0, self._worker.running - 1)
            if record is not None:
                self._result(record, message, parts)
        elif record is None:
            return
        elif isinstance(message, m.Opened):
            self._opened(record, message)
        elif isinstance(message, m.Ready):
            record.ready = True
            self._tell(record, message)
        elif isinstance(message, m.Cancelled):
            self._cancelled(record, message)
        elif isinstance(message, m.Error):
            self._tell(record, message)
            self._worker.running = max(0, self._worker.running - len(record.running))
            self._end(record, tell_worker=False)
        elif isinstance(message, m.Event):
            told = m.Event(message.name, message.data, record.id, record.opening or 0)
            self._tell(record, told)

    def _opened(self, record: SessionRecord, opened: m.Opened) -> None:
        """The worker has the session: give it the exemplars, tell the client where to begin."""
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
        keep = record.acked
        record.next_q = opened.next_q
        rewind = m.Rewind(record.id, opened.next_q, keep, record.epoch, record.credit, need)
        self._tell(record, rewind)

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
        self._worker.running = max(0, self._worker.running - len(record.running))
        record.restart(answer.q)
        record.epoch = answer.epoch
        self._tell(record, m.Cancelled(record.id, answer.q, answer.epoch, record.credit, request))

    def _worker_died(self) -> None:
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
                record.restart(record.acked)
                self._tell(record, m.Event("worker_lost", {"tries": record.losses}, record.id))

    def _reopen_lost(self) -> None:
        for record in self._sessions.values():
            if not record.on_worker:
                self._open_on_worker(record)

    # --- what is due ---

    def _pump(self) -> None:
        """Give the worker frames while it has room, by the scheduler's choice."""
        while self._worker.has_room:
            waiting = [record for record in self._sessions.values() if record.has_work]
            chosen = self._scheduler.choose(waiting)
            if chosen is None:
                return
            record = self._sessions[chosen.id]
            item = record.queue.popleft()
            if isinstance(item.message, m.Frame):
                record.running[item.message.q] = item
                self._worker.running += 1
            self._worker.forward(DATA, item.parts)

    def _sweep(self) -> None:
        """Park sessions of silent clients; close those that nobody touched for long."""
        for peer in self._peers.silent():
            log.info("%s went silent", peer.name)
            for record in self._sessions.values():
                if record.peer is peer:
                    record.peer = None
        now = time.monotonic()
        for record in list(self._sessions.values()):
            limit = self._settings.grace_s if record.peer is None else self._settings.idle_s
            busy = record.queue or record.running
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
        if tell_worker and record.on_worker:
            self._worker.running = max(0, self._worker.running - len(record.running))
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

    # --- the whole ---

    def status(self) -> dict[str, Any]:
        """What `chromabridge status` shows; plain values within the wire's limits."""
        now = time.monotonic()
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(time.time() - self._started, 1),
            "state": "stopping" if self._stopping else "running",
            "clients": len(self._peers),
            "worker": {
                "up": self._worker.up,
                "pid": self._worker.pid or 0,
                "deaths": self._worker.deaths,
                "doing": self._worker.pong.state if self._worker.pong else "starting",
            },
            "sessions": [
                {
                    "id": record.id.hex()[:8],
                    "client": record.user,
                    "effect": record.effect,
                    "done": record.frames_done,
                    "waiting": len(record.queue),
                    "fps": round(record.frames_done / max(1e-3, now - record.opened_at), 2),
                    "parked": record.peer is None,
                    "priority": record.priority,
                }
                for record in list(self._sessions.values())[:32]
            ],
        }

    def _bind(self) -> dict[str, dict[str, str]]:
        settings = self._settings
        if settings.host not in ("127.0.0.1", "::1", "localhost"):
            raise BridgeError(
                "remote_refused", f"expected a loopback address, got {clean(settings.host)}"
            )
        endpoints = {
            "tcp": self._gate.bind(
                "tcp",
                {
                    CTL: f"tcp://{settings.host}:{settings.port or '*'}",
                    DATA: f"tcp://{settings.host}:{settings.data_port or '*'}",
                },
            )
        }
        folder = self._file.parent
        longest = max(len(str(folder / f"{channel}.sock")) for channel in (CTL, DATA))
        if os.name == "posix" and longest <= LONGEST_IPC_PATH:
            addresses = {channel: f"ipc://{folder / f'{channel}.sock'}" for channel in (CTL, DATA)}
            endpoints["ipc"] = self._gate.bind("ipc", addresses)
        return endpoints

    def _catch_signals(self) -> socket.socket:
        """The first signal drains, the second ends at once."""
        waker, wakee = socket.socketpair()
        waker.setblocking(False)
        wakee.setblocking(False)

        def stop(number: int, frame: object) -> None:
            if self._stopping is not None:
                raise SystemExit(1)
            self._begin_stop()
            waker.send(b"s")

        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
                if hasattr(signal, name):
                    signal.signal(getattr(signal, name), stop)
        self._waker = waker
        return wakee

    def _begin_stop(self) -> None:
        if self._stopping is None:
            self._stopping = time.monotonic()

    def _drained(self) -> bool:
        """Nothing runs any more; frames that were not begun are the client's to send again."""
        assert self._stopping is not None
        for record in self._sessions.values():
            record.queue.clear()
        busy = any(record.running or record.results for record in self._sessions.values())
        return not busy or time.monotonic() - self._stopping > 30.0

    def _shut_down(self) -> None:
        for peer in self._peers:
            self._peers.send(peer, CTL, m.Bye("the server stops"))
        self._worker.stop()
        with suppress(FileNotFoundError):
            self._file.unlink()
        self._gate.close(linger_ms=500)
        for channel in (CTL, DATA):
            with suppress(FileNotFoundError):
                (self._file.parent / f"{channel}.sock").unlink()
        self._context.term()


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
        "fresh": (True, False),
        "encoding": FILE_ENCODINGS,
    }
    for name, value in want.items():
        if value not in allowed.get(name, ()):
            raise BridgeError(
                "bad_header",
                f"expected want of dtype <f2 or <f4, confidence, fresh true or false, encoding of "
                f"{', '.join(FILE_ENCODINGS)}; got {clean(name)} = {clean(value)}",
            )
    return want


def serve(
    settings: Settings,
    *,
    file: Path,
    log_json: bool = False,
    ready: Callable[[ConnectionInfo], None] | None = None,
) -> None:
    """Run a server until it is stopped. Raises BridgeError `already_running`, `port_taken`."""
    places.make_private(file.parent)
    home = places.make_private(places.home())
    with _only_one(file):
        Front(settings, file=file, home=home, log_json=log_json).run(ready)


class _only_one:
    """Holds the lock file of this user's server; the operating system frees it when we die."""

    def __init__(self, file: Path) -> None:
        self._path = file.with_suffix(".lock")
        self._file = file

    def __enter__(self) -> None:
        self._handle = self._path.open("a+")
        try:
            _lock(self._handle)
        except OSError:
            self._handle.close()
            raise BridgeError("already_running", _where(self._file)) from None

    def __exit__(self, *_: object) -> None:
        self._handle.close()


def _lock(handle: Any) -> None:
    if os.name == "nt":
        import msvcrt

        msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _where(file: Path) -> str:
    try:
        info = ConnectionInfo.load(file)
    except BridgeError:
        return "a server of this user is just starting or stopping"
    return f"a server runs already, pid {info.pid}, at {info.endpoints['tcp'][CTL]}"
