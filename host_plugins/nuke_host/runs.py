"""Runs of ColorBridge nodes: started, shown, cancelled, and brought into the node's Reads.

With a GUI, the main thread only renders blocks and sets knobs, each in turn with Nuke's own events;
without one, `run_blocking` does the same in a loop.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Callable, Optional

import nuke

from host_plugins.host_layer import Job, JobState, PlateQueue, Service
from host_plugins.host_layer.progress import in_words
from host_plugins.nuke_host import group
from host_plugins.nuke_host.main_thread import ask_main, one_step, unnoticed
from host_plugins.nuke_host.plan import Plan, Reading, ViewPlan
from host_plugins.nuke_host.render import BUSY, END, MAX_WAITING, PlateRender
from host_plugins.wire.errors import BridgeError

#: how often the panel and the Read are refreshed while a job runs
SHOW_S, RELOAD_S = 0.1, 1.0
BUSY_S = 60.0
_READ_KNOBS = ("file", "first", "last", "origfirst", "origlast", "raw", "colorspace")

_running: dict[str, Run] = {}


def running(node: Any) -> Optional[Run]:
    """The run that a node has under way."""
    return _running.get(node.fullName())


class Run:
    """One press of Colorize or Preview: its views one after the other. Main thread only."""

    def __init__(self, node: Any, plan: Plan, service: Service) -> None:
        self.name: str = node.fullName()
        self.plan = plan
        self._service = service
        self._left = list(plan.views)
        self._before = {name: _reader(node, plan)[name].value() for name in _READ_KNOBS}
        self._shown_before = node["cb_show"].value()
        self._finished: set[int] = set()
        self._bar: Any = None
        self._cancelled = False
        self._reloaded = 0.0
        self.job: Job
        self.queue: Optional[PlateQueue] = None
        self.render: Optional[PlateRender] = None

    def begin_view(self, on_change: Optional[Callable[[Job], None]]) -> ViewPlan:
        """Start the next view's job."""
        view = self._left.pop(0)
        self.queue, self.render = None, None
        if view.files is None:
            self.queue = PlateQueue()
            node = nuke.toNode(self.name)
            self.render = PlateRender(node, view, self.plan.first, self.plan.last, self.queue)
        plates = self.queue if self.queue is not None else view.files or ()
        self.job = self._service.start(view.spec, plates, on_change=on_change)
        return view

    def cancel(self) -> None:
        """Stop all of it; finished frames are kept."""
        self._cancelled = True
        self._left.clear()
        self.job.cancel()

    @property
    def more(self) -> bool:
        """Another view is to come."""
        return bool(self._left) and not self._cancelled

    def show(self) -> JobState:
        """Look at the job and bring node and progress bar up to date."""
        state = self.job.poll()
        self._finished.update(frame for frame, _ in state.finished)
        if state.ended and state.stage != "done":
            self._left.clear()
        node = nuke.toNode(self.name)
        if node is None:
            self.cancel()
            _running.pop(self.name, None)
            return state
        group.say(
            node,
            _status(state, self.plan.preview),
            action=state.message.action if state.message else "",
        )
        self._move_bar(state)
        if self._finished and (state.ended or time.monotonic() - self._reloaded > RELOAD_S):
            self._reloaded = time.monotonic()
            with unnoticed():
                self._set_reader(node)
        if state.ended and not self.more:
            self._finish(node, state)
        return state

    def _move_bar(self, state: JobState) -> None:
        if not nuke.GUI:
            return
        if state.ended:
            self._bar = None
            return
        if self._bar is None:
            self._bar = nuke.ProgressTask("ColorBridge")
        self._bar.setProgress(int(100 * state.fraction))
        self._bar.setMessage(_status(state, self.plan.preview))
        if self._bar.isCancelled():
            self.cancel()

    def _set_reader(self, node: Any) -> None:
        read = _reader(node, self.plan)
        reading: Reading = self.plan.views[0].reading
        read["file"].setValue(self.plan.result)
        first, last = min(self._finished), max(self._finished)
        for knob, frame in (("first", first), ("last", last)):
            read[knob].setValue(frame)
            read["orig" + knob].setValue(frame)
        read["raw"].setValue(reading.raw)
        if reading.colorspace:
            read["colorspace"].setValue(reading.colorspace)
        read["reload"].execute()
        node["cb_show"].setValue("preview" if self.plan.preview else "result")

    def _finish(self, node: Any, state: JobState) -> None:
        """Make all that the run changed one step of Undo."""
        _running.pop(self.name, None)
        if self._finished:
            read = _reader(node, self.plan)
            with unnoticed():
                for name, value in self._before.items():
                    read[name].setValue(value)
                node["cb_show"].setValue(self._shown_before)
            with one_step("ColorBridge preview" if self.plan.preview else "Colorize"):
                self._set_reader(node)
        if state.report is not None:
            with unnoticed():
                node["cb_report_page"].setValue(str(state.report))


def start(node: Any, plan: Plan, service: Service) -> Run:
    """Start a run and return at once; Nuke's event loop carries it. Main thread, with a GUI."""
    run = Run(node, plan, service)
    _running[run.name] = run
    _start_view(run)
    return run


def run_blocking(
    node: Any, plan: Plan, service: Service, *, tell: Callable[[str], None]
) -> JobState:
    """Do a whole run here and now: for terminals and farms. tell: gets lines of progress."""
    run = Run(node, plan, service)
    state = JobState()
    while run.more or not state.ended:
        view = run.begin_view(None)
        tell(f"view {view.view}, frames {plan.first} to {plan.last}")
        state = _drive(run, tell)
        if state.stage != "done":
            break
    return state


def _drive(run: Run, tell: Callable[[str], None]) -> JobState:
    outcome, told = (END if run.render is None else ""), -1
    while True:
        state = run.show()
        percent = int(100 * state.fraction)
        if percent != told:
            told = percent
            tell(f"{percent}% {_status(state, run.plan.preview)}")
        if state.ended:
            return state
        queue = run.queue
        waiting = MAX_WAITING if queue is None else queue.waiting
        if run.render is not None and outcome != END and waiting < MAX_WAITING:
            outcome = run.render.block()
            continue
        run.job.wait(0.05)


def _start_view(run: Run) -> None:
    shower = _Shower(run)
    run.begin_view(shower.changed)
    if run.render is not None:
        threading.Thread(target=_pump, args=(run,), name="chromabridge-pump", daemon=True).start()


class _Shower:
    """Asks the main thread to look at a job, at most ten times a second and never twice at once."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._asked = False
        self._last = 0.0
        self._over = False

    def changed(self, job: Job) -> None:
        """On the job's thread."""
        ended = job.ended
        if not ended and (self._asked or time.monotonic() - self._last < SHOW_S):
            return
        self._asked = True
        self._last = time.monotonic()
        nuke.executeInMainThread(self._show)

    def _show(self) -> None:
        self._asked = False
        if self._over:
            return
        state = self._run.show()
        if state.ended:
            self._over = True
            if self._run.more and state.stage == "done":
                _start_view(self._run)


def _pump(run: Run) -> None:
    """On a thread of its own: asks the main thread for block after block."""
    render, queue, job = run.render, run.queue, run.job
    if render is None or queue is None:
        return
    busy_since: Optional[float] = None
    try:
        while not job.wait(0):
            if queue.waiting >= MAX_WAITING:
                job.wait(0.05)
                continue
            outcome = ask_main(render.block)
            if outcome == END:
                return
            if outcome != BUSY:
                busy_since = None
                continue
            busy_since = busy_since or time.monotonic()
            if time.monotonic() - busy_since > BUSY_S:
                raise BridgeError("busy", "Nuke was busy with another render for too long")
            job.wait(0.2)
    except BridgeError as error:
        queue.close(error)
    except Exception as error:  # the job must end, whatever Nuke did
        queue.close(BridgeError("frame_missing", f"Nuke's render failed: {error}"))


def _reader(node: Any, plan: Plan) -> Any:
    return node.node("PREVIEW" if plan.preview else "RESULT")


def _status(state: JobState, preview: bool) -> str:
    if state.message is not None:
        return f"{state.message.title}. {state.message.text}"
    if state.stage == "done":
        again = f", {state.cached} of them kept from before" if state.cached else ""
        return "Preview done." if preview else f"Done: {state.done} frames{again}."
    if state.stage == "cancelled":
        return f"Cancelled; {state.done} frames are kept."
    if state.stage in ("waiting", "connecting"):
        return "Looking for the server" + (f" ({state.note})" if state.note else "") + "..."
    if state.stage == "loading":
        return "Getting the network ready..."
    left = in_words(state.eta_s)
    return f"{state.done} of {state.total} frames" + (f", {left} left" if left else "")


def report_path(node: Any) -> Optional[Path]:
    """The page of the node's last run, when there is one."""
    text = str(node["cb_report_page"].value())
    return Path(text) if text and Path(text).is_file() else None
