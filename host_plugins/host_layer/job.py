"""A job: one clip through one effect on a thread of its own, polled by the host's timer.

Frames that are in the cache are not run again. A server that went away is started or found again
and the job goes on; frames that were finished stay.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from host_plugins.client import Buffer, ClipFrame, ColoredFrame, Session
from host_plugins.host_layer.cache import Chain, Journal, ResultCache, condition_key
from host_plugins.host_layer.files import place_whole
from host_plugins.host_layer.messages import Message, explain
from host_plugins.host_layer.npy import npy_bytes
from host_plugins.host_layer.pins import Pin, Pins
from host_plugins.host_layer.plates import Plate, PlateQueue, expand_pattern
from host_plugins.host_layer.progress import Progress
from host_plugins.host_layer.record import write_record
from host_plugins.wire.errors import BridgeError

if TYPE_CHECKING:
    from host_plugins.host_layer.service import Service

#: errors after which the same job is tried again by itself, and how often in a row without a frame
PASSING = ("disconnected", "worker_lost", "shutting_down", "no_server", "busy", "timeout")
TRIES = 3
SUFFIXES = {"exr": ".exr", "tiff": ".tif", "png": ".png", "dpx": ".dpx"}


@dataclass(frozen=True)
class JobSpec:
    """What to do.

    values: by parameter name, as Panel.values gives them. pins: the exemplars. folder: where
    results go, as `result.%06d` with the suffix of `encoding`: exr, tiff, png or dpx for plates
    that are files, "raw" for plates that are planes (results are then `.npy`, float16 or float32
    (2, H, W) of CIE a and b). total: how many frames are expected, 0 when not known. want: more
    for Server.open's `want`. facts: what a host adds to the record, such as its color settings.
    """

    effect: str
    values: Mapping[str, Any]
    pins: tuple[Pin, ...]
    folder: Path
    encoding: str = "exr"
    total: int = 0
    name: str = "result"
    context: str = "filter"
    priority: str = "batch"
    want: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pattern(self) -> str:
        """The results' names: expand_pattern(spec.pattern, frame)."""
        suffix = SUFFIXES.get(self.encoding, ".npy")
        return f"{self.folder.as_posix()}/{self.name}.%06d{suffix}"

    @property
    def key(self) -> str:
        """64 hexadecimal digits: the same for the same effect, values and exemplars."""
        return condition_key(self.asked())

    def asked(self) -> dict[str, Any]:
        """The conditions as the host knows them. Raises exemplar_missing, bad_exemplar."""
        pictures = Pins(self.pins).pictures()
        return {
            "effect": self.effect,
            "values": dict(self.values),
            "exemplars": [[picture.digest.hex(), picture.index] for picture in pictures],
            "want": self.wanted(),
            "context": self.context,
        }

    def wanted(self) -> dict[str, Any]:
        """The map for Server.open."""
        return (
            dict(self.want) if self.encoding == "raw" else {"encoding": self.encoding, **self.want}
        )


def run_id(effect: str, values: Mapping[str, Any], pins: Iterable[Pin], *more: object) -> str:
    """12 hexadecimal digits that name a run's folder: the same for the same effect, values and
    exemplar files (by name, size and time, so that it is cheap on a host's main thread)."""
    told: list[Any] = [effect, sorted(values.items()), [str(item) for item in more]]
    for pin in pins:
        path = Path(pin.path)
        with suppress(OSError):
            found = path.stat()
            told.append([pin.path, pin.frame, found.st_size, found.st_mtime_ns])
    return condition_key({"run": told})[:12]


@dataclass(frozen=True)
class JobState:
    """A look at a job. stage: waiting, connecting, loading, running, done, cancelled or failed.

    finished: (frame, result) of those that came since the last poll, in order. eta_s: None while
    it cannot be told. note: what the server says while it loads. message: why it failed.
    """

    stage: str = "waiting"
    done: int = 0
    cached: int = 0
    total: int = 0
    fps: float = 0.0
    eta_s: Optional[float] = None
    note: str = ""
    message: Optional[Message] = None
    finished: tuple[tuple[int, Path], ...] = ()
    report: Optional[Path] = None

    @property
    def ended(self) -> bool:
        return self.stage in ("done", "cancelled", "failed")

    @property
    def fraction(self) -> float:
        """0 to 1 for a bar."""
        if self.stage == "done":
            return 1.0
        return min(1.0, self.done / self.total) if self.total else 0.0


class Job:
    """Made by Service.start. poll, cancel: from any thread, at once."""

    def __init__(
        self,
        service: Service,
        spec: JobSpec,
        plates: Union[Iterable[Plate], PlateQueue],
        *,
        on_change: Optional[Callable[[Job], None]] = None,
    ) -> None:
        self.spec = spec
        self._service = service
        self._queue = plates if isinstance(plates, PlateQueue) else _filled(plates)
        self._on_change = on_change
        self._progress = Progress(spec.total)
        self._state = JobState(total=spec.total)
        self._finished: list[tuple[int, Path]] = []
        self._seen: list[Plate] = []
        self._keys: list[str] = []
        self._digests: list[bytes] = []
        self._cancelled = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._session: Optional[Session] = None
        self._degraded: dict[str, int] = {}
        self._server_info: Mapping[str, Any] = {}
        self._effective: Mapping[str, Any] = {}
        self._warnings: tuple[str, ...] = ()
        self._have = 0
        self._cache = ResultCache(
            service.settings.cache_root / "results", int(service.settings.cache_gb * 1e9)
        )
        self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="chromabridge-job", daemon=True)
        self._thread.start()

    def poll(self) -> JobState:
        """Where the job is now; `finished` holds each frame once."""
        with self._lock:
            finished, self._finished = tuple(self._finished), []
            return replace(self._state, finished=finished)

    def cancel(self) -> None:
        """Stop after the frame that is being computed; finished frames are kept."""
        self._cancelled.set()
        self._queue.close()
        session = self._session
        if session is not None:  # asks the server, which may take a while
            threading.Thread(target=session.cancel, daemon=True).start()

    def wait(self, timeout_s: Optional[float] = None) -> bool:
        """Wait for the end: for terminals and tests, never on a host's main thread."""
        return self._ended.wait(timeout_s)

    @property
    def ended(self) -> bool:
        """It is over; the last poll tells how."""
        return self._ended.is_set()

    # --- the thread ---

    def _run(self) -> None:
        try:
            self._try_again_and_again()
            self._end("cancelled" if self._cancelled.is_set() else "done", None)
        except BridgeError as error:
            stage = "cancelled" if self._cancelled.is_set() else "failed"
            self._end(stage, None if stage == "cancelled" else explain(error))
        except Exception as error:  # a host must live on whatever happens here
            self._end("failed", explain(error))

    def _try_again_and_again(self) -> None:
        failures = 0
        while True:
            before = self._progress.done
            try:
                self._attempt()
                return
            except BridgeError as error:
                failures = 1 if self._progress.done > before else failures + 1
                hopeless = error.code not in PASSING or failures >= TRIES
                if hopeless or self._cancelled.is_set():
                    raise
                wait_s = (error.wait_ms or 300 * failures) / 1000
                self._show(stage="connecting", note=f"{error.message}; trying again")
                self._cancelled.wait(wait_s)

    def _attempt(self) -> None:
        """Everything that is still missing, over one session."""
        self._show(stage="connecting", note="")
        pictures = Pins(self.spec.pins).pictures()
        asked = self.spec.asked()
        server = self._service.server(start=True)
        self._server_info = server.info
        journal = Journal(self.spec.folder / f"{self.spec.name}.job")

        def begin(name: str) -> Session:
            self._show(stage="loading")
            return server.open(
                self.spec.effect,
                self.spec.values,
                pictures,
                context=self.spec.context,
                want=self.spec.wanted(),
                priority=self.spec.priority,
                job=name,
                on_event=self._hear,
            )

        name = journal.job() or uuid.uuid4().hex
        session = self._session = begin(name)
        try:
            self._keys = []
            self._effective, self._warnings = session.effective, session.warnings
            chain = Chain({**asked, "effective": session.effective})
            self._reuse(chain)
            if self._exhausted():
                return
            if not journal.fits(self._keys[: self._have]) or session.first_wanted > self._have:
                if session.first_wanted:  # the server's state is that of other frames
                    session.close()
                    name = uuid.uuid4().hex
                    session = self._session = begin(name)
                journal.begin(name)
            self._stream(session, chain, journal)
        finally:
            self._session = None
            self._effective = session.effective
            session.close()

    def _reuse(self, chain: Chain) -> None:
        """Deliver frames out of the cache until one is missing; sets how many there are."""
        self._have = 0
        self._show(stage="running")
        while not self._cancelled.is_set():
            plate = self._plate(self._have, wait=True)
            if plate is None:
                return
            self._add_key(chain)
            path = self._cache.find(self._keys[-1], self._suffix)
            if path is None:
                return
            self._have += 1
            self._deliver(self._have - 1, path, cached=True)

    def _stream(self, session: Session, chain: Chain, journal: Journal) -> None:
        """Run the rest: in stretches of frames that are there, so that results never wait for a
        host that still renders."""
        place = session.first_wanted
        self._progress.start()
        while not self._cancelled.is_set():
            if self._plate(place, wait=True) is None:
                return
            start = place

            def again(k: int, start: int = start) -> ClipFrame:
                return self._frame(start + k)

            for result in session.stream(self._stretch(start), reread=again):
                self._take(place, result, chain, journal)
                place += 1

    def _stretch(self, place: int) -> Iterator[ClipFrame]:
        while not self._cancelled.is_set() and self._plate(place, wait=False) is not None:
            yield self._frame(place)
            place += 1

    def _take(self, place: int, result: ColoredFrame, chain: Chain, journal: Journal) -> None:
        plate = self._seen[place]
        if result.index != plate.index:
            raise BridgeError("gap", f"expected frame {plate.index}, got frame {result.index}")
        while len(self._keys) <= place:
            self._add_key(chain)
        for reason in result.degraded:
            self._degraded[reason] = self._degraded.get(reason, 0) + 1
        if place >= self._have:
            data = _file_of(result, self.spec.encoding)
            path = self._cache.put(self._keys[place], self._suffix, data)
            self._deliver(place, path, cached=False)
        journal.add(place, self._keys[place])

    def _add_key(self, chain: Chain) -> None:
        """The key of the next frame that has none yet."""
        place = len(self._keys)
        plate = self._seen[place]
        if len(self._digests) <= place:
            self._digests.append(plate.digest())
        self._keys.append(chain.next(digest=self._digests[place], index=plate.index, cut=plate.cut))

    def _deliver(self, place: int, path: Path, *, cached: bool) -> None:
        if place < self._progress.done:
            return  # delivered before the server was lost
        index = self._seen[place].index
        target = expand_pattern(self.spec.pattern, index)
        place_whole(path, target)
        self._progress.count(cached=cached)
        with self._lock:
            self._finished.append((index, target))
        self._show(stage="running", note="")

    # --- the plates ---

    def _plate(self, place: int, *, wait: bool) -> Optional[Plate]:
        """Frame number `place` of the clip; None at the end or when it is not there yet."""
        while len(self._seen) <= place:
            plate = self._queue.take(wait=wait)
            if plate is None:
                return None
            self._seen.append(plate)
        return self._seen[place]

    def _frame(self, place: int) -> ClipFrame:
        plate = self._seen[place]
        return ClipFrame(plate.index, (plate.buffer(),), plate.cut)

    def _exhausted(self) -> bool:
        return self._cancelled.is_set() or (self._queue.ended and self._have == len(self._seen))

    @property
    def _suffix(self) -> str:
        return SUFFIXES.get(self.spec.encoding, ".npy")

    # --- telling ---

    def _hear(self, name: str, data: Mapping[str, Any]) -> None:
        if "text" in data:
            self._show(note=str(data["text"]))

    def _show(self, **news: Any) -> None:
        self._set(**news)
        if self._on_change is not None:
            self._on_change(self)

    def _set(self, **news: Any) -> None:
        with self._lock:
            self._state = replace(
                self._state,
                done=self._progress.done,
                cached=self._progress.cached,
                total=max(self._progress.total, len(self._seen)),
                fps=self._progress.fps,
                eta_s=self._progress.eta_s,
                **news,
            )

    def _end(self, stage: str, message: Optional[Message]) -> None:
        report = None
        if self._seen:
            try:
                report = write_record(
                    self.spec.folder, self._record(stage, message), name=self.spec.name
                )
                self._cache.trim()
            except BridgeError as error:
                message = message or explain(error)
        self._set(stage=stage, message=message, report=report, note="")
        self._ended.set()
        if self._on_change is not None:
            self._on_change(self)

    def _record(self, stage: str, message: Optional[Message]) -> dict[str, Any]:
        return {
            "outcome": stage,
            "message": str(message) if message else "",
            "effect": self.spec.effect,
            "server": dict(self._server_info),
            "asked": dict(self.spec.values),
            "done": dict(self._effective),
            "why they differ": list(self._warnings),
            "less than asked": [f"{why} ({n} frames)" for why, n in self._degraded.items()],
            "exemplars": [pin.label for pin in self.spec.pins],
            "frames": {
                "in the clip": len(self._seen),
                "finished": self._progress.done,
                "out of the cache": self._progress.cached,
            },
            "results": self.spec.pattern,
            "seconds": round(time.monotonic() - self._begun, 2),
            "host": dict(self.spec.facts),
        }


def _filled(plates: Iterable[Plate]) -> PlateQueue:
    ready = PlateQueue()
    for plate in plates:
        ready.put(plate)
    ready.close()
    return ready


def _file_of(result: ColoredFrame, encoding: str) -> Union[bytes, bytearray, memoryview]:
    wanted = "ab" if encoding == "raw" else "file"
    buffer: Optional[Buffer] = next((b for b in result.buffers if b.name == wanted), None)
    if buffer is None:
        got = ", ".join(b.name for b in result.buffers) or "none"
        raise BridgeError("unsupported", f"expected plane {wanted!r} in the result, got {got}")
    return npy_bytes(buffer) if encoding == "raw" else buffer.data
