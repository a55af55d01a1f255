"""The thread that runs the networks: one queue of messages in, results out, in strict order.

The only place that turns exceptions of networks into errors for a client.
"""

from __future__ import annotations

import gc
import json
import logging
import queue
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from accel.compiling import Compiler, use_cache
from accel.device import Facts, release
from accel.memory import MemoryPlan, is_out_of_memory, step_down
from accel.plan import Plan
from bridge_server import __version__
from bridge_server.effects import registry
from bridge_server.effects.descriptor import Value
from bridge_server.effects.effect import Effect, Loaded, LoadRequest
from bridge_server.effects.performance import switches_of
from bridge_server.peers import error_message
from bridge_server.worker.delivery import Delivery, Unfinished, answer
from bridge_server.worker.files import decode_exemplar, decode_plate
from bridge_server.worker.instance import Instance, Still
from bridge_server.worker.outbox import Outbox
from bridge_server.worker.planes import to_tensor
from bridge_server.worker.planning import Planner
from bridge_server.worker.snapshots import Cadence, SnapshotStore, fingerprint
from host_plugins.link import CTL
from host_plugins.wire import messages as m
from host_plugins.wire.errors import BridgeError
from models.propagator import State
from models.weights import WeightsMismatch

log = logging.getLogger(__name__)

MOST_LOADED = 3


@dataclass
class Job:
    """One session as the worker keeps it."""

    session: bytes
    effect: Effect
    loaded: Loaded
    parameters: Mapping[str, Value]
    want: Mapping[str, Any]
    refs: dict[bytes, int | None]
    epoch: int
    snapshot_key: str
    cadence: Cadence
    instance: Instance
    told: dict[str, Any]
    plan: Plan | None = None
    next_q: int = 0
    saved: int | None = None
    stills: dict[bytes, Still] = field(default_factory=dict)
    late: list[m.Exemplar] = field(default_factory=list)
    begun: bool = False
    restored: tuple[int, State] | None = None


class Compute:
    """Runs in the worker's main thread; `queue`, `state`, `status` serve the others."""

    def __init__(self, outbox: Outbox, *, home: Path, settings: Mapping[str, Any]) -> None:
        self._outbox = outbox
        self._home = home
        self._settings = settings
        self._messages: queue.SimpleQueue[m.Message] = queue.SimpleQueue()
        self._planner = Planner(str(settings["device"]))
        self._choices: dict[str, list[str]] = {}
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()
        self._jobs: dict[bytes, Job] = {}
        self._cancelled: set[bytes] = set()
        self._step_began: float | None = None
        self._doing = "idle"
        self._delivery = Delivery(outbox, self._attempt)
        self._store = SnapshotStore(home / "snapshots")
        use_cache(home / "compiled")

    def queue(self, message: m.Message) -> None:
        """Take a message from the socket thread; a cancel takes effect on all frames behind it."""
        if isinstance(message, m.Cancel):
            self._cancelled.add(message.session)
        self._messages.put(message)

    def state(self) -> tuple[str, int]:
        """What the thread does, and for how many milliseconds."""
        began = self._step_began
        return self._doing, 0 if began is None else int((time.monotonic() - began) * 1000)

    def status(self) -> dict[str, Any]:
        return {
            "doing": self._doing,
            "device": str(self._settings["device"]),
            "loaded": [key[:200] for key in list(self._loaded)],
            "sessions": len(self._jobs),
            "choices": dict(self._choices),
            "state_bytes": sum(job.instance.nbytes for job in list(self._jobs.values())),
        }

    @property
    def facts(self) -> Facts | None:
        """Of the device in use; None before a network was planned for one."""
        return self._planner.known

    def run(self) -> None:
        """Work until a stop message."""
        self._choices = self._planner.choices()
        with torch.inference_mode():
            while True:
                message = self._messages.get()
                if isinstance(message, m.Stop):
                    self._delivery.finish()
                    return
                self._step_began = time.monotonic()
                self._guarded(message)
                if self._messages.empty():
                    self._delivery.finish()
                self._step_began, self._doing = None, "idle"

    def _guarded(self, message: m.Message) -> None:
        if not isinstance(message, m.Frame):
            self._delivery.finish()
        self._attempt(message, lambda: self._take(message))

    def _attempt(self, message: m.Message, work: Callable[[], None]) -> None:
        """Do a message's work; what it raises is answered as this message's error."""
        session: bytes | None = getattr(message, "session", None)
        try:
            work()
        except BridgeError as error:
            self._fail(session, message, error)
        except WeightsMismatch as error:
            self._fail(session, message, BridgeError("weights_mismatch", str(error)))
        except ValueError as error:
            self._fail(session, message, BridgeError("bad_frame", str(error)))
        except Exception as error:
            if is_out_of_memory(error):
                self._out_of_memory(message, str(error))
                return
            log.exception("%s failed", message.kind)
            self._fail(session, message, BridgeError("model", f"{message.kind} failed"))

    def _out_of_memory(self, message: m.Message, reason: str) -> None:
        """Begin the session again one memory step lower, from its snapshot or its first frame.

        Frames that were delivered stay delivered; the client sends the others again. When no step
        is left, the session ends with `oom`.
        """
        self._delivery.finish()
        job = self._jobs.get(message.session) if isinstance(message, m.Frame) else None
        current = job.instance.memory if job is not None else None
        lower = step_down(current, "the device was full") if current is not None else None
        log.warning("out of memory: %s", reason)
        if job is None or lower is None:
            error = BridgeError("oom", "the device's memory is full, and no step down is left")
            self._fail(getattr(message, "session", None), message, error)
            return
        job.instance.end_sequence_render()
        job.instance = self._instance(
            job.effect, job.loaded, job.parameters, job.plan, job.session, memory=lower
        )
        gc.collect()
        release(self._planner.facts)
        restored = self._store.load(job.snapshot_key) if job.snapshot_key else None
        job.next_q, state = restored or (0, None)
        job.epoch += 1
        job.late.clear()
        job.instance.begin_sequence_render([job.stills[digest] for digest in job.refs], state)
        step = lower.steps[-1]
        text = f"the device was full: {step.name} from here on"
        told = {"step": step.name, "changes_picture": step.changes_picture, "text": text}
        self._outbox.put(CTL, m.Event("step_down", told, job.session))
        self._outbox.put(CTL, m.Rewind(job.session, job.next_q, 0, job.epoch, (0, 0)))

    def _fail(self, session: bytes | None, message: m.Message, error: BridgeError) -> None:
        self._delivery.finish()
        log.warning("session %s: %s", session.hex()[:8] if session else "-", error)
        if session is not None:
            self._drop(session)
        answer = error_message(error, session=session, q=getattr(message, "q", None))
        self._outbox.put(CTL, answer)

    def _take(self, message: m.Message) -> None:
        if isinstance(message, m.Open):
            self._open(message)
        elif isinstance(message, m.Exemplar):
            self._exemplar(message)
        elif isinstance(message, m.Frame):
            self._frame(message)
        elif isinstance(message, m.Cancel):
            self._cancel(message)
        elif isinstance(message, m.Close):
            self._close(message)

    # --- a session begins ---

    def _open(self, request: m.Open) -> None:
        assert request.session is not None
        effect = registry.find(request.effect)
        parameters = effect.describe_in_context("filter").effective(request.parameters)
        plan = self._planner.plan(effect, parameters)
        loaded = self._load(effect, parameters, plan, request)
        refs = {bytes(ref["id"]): ref.get("fr") for ref in request.exemplars}
        key = ""
        if request.job:
            key = fingerprint(
                {
                    "job": request.job,
                    "effect": effect.id,
                    "parameters": dict(parameters),
                    "exemplars": sorted((d.hex(), i) for d, i in refs.items()),
                    "made_by": dict(loaded.made_by),
                    "version": [__version__, *map(str, effect.version), torch.__version__],
                }
            )
        cadence = Cadence(
            int(self._settings["snapshot_frames"]) if key else 0,
            float(self._settings["snapshot_s"]),
        )
        job = Job(
            request.session,
            effect,
            loaded,
            parameters,
            request.want,
            refs,
            request.epoch,
            key,
            cadence,
            self._instance(effect, loaded, parameters, plan, request.session),
            told=_effective(plan, parameters),
            plan=plan,
        )
        if key:
            job.restored = self._store.load(key, upto=request.want.get("upto"))
        if job.restored is not None:
            job.next_q = job.saved = job.restored[0]
        self._jobs[job.session] = job
        self._cancelled.discard(job.session)
        opened = m.Opened(job.session, job.epoch, (0, 0), tuple(refs), job.next_q, request.request)
        self._outbox.put(CTL, opened)
        self._begin_if_complete(job)

    def _load(
        self, effect: Effect, parameters: Mapping[str, Value], plan: Plan | None, request: m.Open
    ) -> Loaded:
        """The effect's networks as this plan wants them; a few of those used last are kept."""
        wish = {**switches_of(parameters), "fast_features": parameters.get("fast_features", False)}
        key = f"{effect.id} {json.dumps(wish, sort_keys=True)}"
        if key not in self._loaded:
            self._doing = f"loading {effect.id}"
            data = {"effect": effect.id, "text": f"loading {effect.id}"}
            told = m.Event("loading", data, request.session, request.request)
            self._outbox.put(CTL, told)
            error = effect.unavailable()
            if error is not None:
                raise error
            started = time.perf_counter()
            compiler = plan.build_compiler() if plan is not None else None
            wanted = LoadRequest(plan, self._home, parameters, compiler)
            self._loaded[key] = effect.load(wanted)
            log.info("loaded %s in %.1f s", effect.id, time.perf_counter() - started)
            for line in self._loaded[key].notes:
                log.info("%s: %s", effect.id, line)
        self._loaded.move_to_end(key)
        while len(self._loaded) > MOST_LOADED:
            self._loaded.popitem(last=False)
        return self._loaded[key]

    def _instance(
        self,
        effect: Effect,
        loaded: Loaded,
        parameters: Mapping[str, Value],
        plan: Plan | None,
        session: bytes,
        *,
        memory: MemoryPlan | None = None,
    ) -> Instance:
        lanes = self._planner.lanes if plan is not None else None
        tell = self._teller(session)
        return Instance(effect, loaded, parameters, plan, tell=tell, memory=memory, lanes=lanes)

    def _teller(self, session: bytes) -> Callable[[str, Mapping[str, Any]], None]:
        def tell(name: str, data: Mapping[str, Any]) -> None:
            self._outbox.put(CTL, m.Event(name, data, session))

        return tell

    def _exemplar(self, message: m.Exemplar) -> None:
        job = self._jobs.get(message.session)
        if job is None:
            return
        if job.begun:
            if message.at >= job.next_q:
                job.late.append(message)
            return
        job.stills[message.digest] = self._still(message, job.refs.get(message.digest))
        self._begin_if_complete(job)

    def _still(self, message: m.Exemplar, index: int | None) -> Still:
        buffer = message.buffers[0]
        if buffer.name != "file":
            return Still(to_tensor(buffer), index, message.digest.hex())
        picture = decode_exemplar(buffer)
        matte = None if picture.matte is None else torch.from_numpy(picture.matte)
        return Still(torch.from_numpy(picture.rgb), index, message.digest.hex(), matte)

    def _begin_if_complete(self, job: Job) -> None:
        if set(job.stills) != set(job.refs):
            return
        stills = [job.stills[digest] for digest in job.refs]
        state = job.restored[1] if job.restored else None
        job.instance.begin_sequence_render(stills, state)
        job.restored = None
        job.begun = True
        effective = {**job.parameters, **job.told, "made_by": dict(job.loaded.made_by)}
        lanes = job.instance.lanes
        copies = (str(lanes),) if lanes.device.type == "cuda" else ()
        self._outbox.put(CTL, m.Ready(job.session, effective, (*job.loaded.notes, *copies)))

    # --- frames ---

    def _frame(self, frame: m.Frame) -> None:
        job = self._jobs.get(frame.session)
        if job is None or frame.session in self._cancelled or frame.epoch != job.epoch:
            return
        if frame.q != job.next_q or not job.begun:
            raise BridgeError("gap", f"expected frame {job.next_q}, got {frame.q}")
        self._doing = f"{job.effect.id} frame {frame.index}"
        started = time.perf_counter()
        for exemplar in [late for late in job.late if late.at <= frame.q]:
            job.late.remove(exemplar)
            job.instance.put_exemplar(self._still(exemplar, exemplar.index))
        buffer = frame.buffers[0]
        source = None
        if buffer.name == "file":
            source = decode_plate(buffer, job.parameters)
        decoded = time.perf_counter()
        rendered = job.instance.render(
            to_tensor(buffer) if source is None else source.luma,
            index=frame.index,
            cut=frame.cut,
            want_confidence=bool(job.want.get("confidence")),
        )
        job.next_q = frame.q + 1
        degraded, job.instance.degraded = job.instance.degraded, ()
        times = {
            "decode": int((decoded - started) * 1e6),
            **rendered.times_us,
            "total": int((time.perf_counter() - started) * 1e6),
        }
        copying = job.instance.lanes.download(*rendered.tensors)
        self._delivery.finish()  # the frame before this one, if it was held back
        if self._jobs.get(frame.session) is not job or frame.epoch != job.epoch:
            return
        snapshot = self._snapshot(job)
        make = partial(answer, frame, copying, source, job.want, job.parameters, job.loaded.made_by)
        result = m.Result(job.session, frame.q, job.epoch, frame.index, (), times, degraded)
        self._tell_effective(job)
        self._delivery.put(
            Unfinished(frame, replace(result, saved=job.saved), make),
            hold=job.instance.lanes.overlapping and not snapshot,
        )

    def _snapshot(self, job: Job) -> bool:
        """Save the session's state if its time has come; returns whether it had."""
        if not job.cadence.due():
            return False
        started = time.perf_counter()
        try:
            self._store.save(job.snapshot_key, job.next_q, job.instance.save_state())
            job.saved = job.next_q
        except OSError as error:
            log.warning("no snapshot: %s", error)
            data = {"text": f"no snapshot: {error}"}
            self._outbox.put(CTL, m.Event("snapshot_failed", data, job.session))
        job.cadence.done(time.perf_counter() - started)
        return True

    def _tell_effective(self, job: Job) -> None:
        """Say what turned out otherwise than `ready` had it: compilation, memory."""
        now = _effective(job.plan, job.parameters, job.loaded.compiler, job.instance.memory)
        changed = {name: value for name, value in now.items() if job.told.get(name) != value}
        if changed:
            job.told.update(changed)
            self._outbox.put(CTL, m.Event("effective", changed, job.session))

    # --- a session ends ---

    def _cancel(self, message: m.Cancel) -> None:
        self._cancelled.discard(message.session)
        job = self._jobs.get(message.session)
        if job is not None:
            job.epoch += 1
            cancelled = m.Cancelled(job.session, job.next_q, job.epoch, (0, 0), message.request)
            self._outbox.put(CTL, cancelled)

    def _close(self, message: m.Close) -> None:
        self._drop(message.session)
        self._outbox.put(CTL, m.Closed(message.session, message.request))

    def _drop(self, session: bytes) -> None:
        job = self._jobs.pop(session, None)
        if job is not None:
            job.instance.end_sequence_render()
        if not self._jobs and self._planner.known is not None:
            release(self._planner.known)


def _effective(
    plan: Plan | None,
    parameters: Mapping[str, Value],
    compiler: Compiler | None = None,
    memory: MemoryPlan | None = None,
) -> dict[str, Any]:
    """What became of the switches that this effect has: by the plan, then as a frame showed."""
    if plan is None:
        return {}
    known: dict[str, Any] = {**parameters, **plan.effective}
    if parameters.get("memory_mode") == "auto":
        known["memory_mode"] = plan.tier.mode.name
    if memory is not None:
        known |= plan.effective_with(compiler)
        known["memory_mode"] = memory.mode.name
        known["use_half_resolution"] = memory.half_resolution
    switches = (*plan.effective, "memory_mode", "use_half_resolution")
    return {name: known[name] for name in switches if name in parameters}
