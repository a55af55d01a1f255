"""One clip through the server: decode ahead, stream, join and encode behind.

Three threads meet at bounded queues, so that memory does not grow with the clip: one reads the
plate and makes its luma, the caller's streams, one joins chroma with the untouched plate and
writes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bridge_server.headless.job import (
    ColorizeJob,
    exemplar_picture,
    job_key,
    pixel_settings,
    plate_key,
)
from bridge_server.headless.journal import Journal
from bridge_server.headless.pipeline import Pipeline
from bridge_server.headless.plan_frames import (
    FramePlan,
    KeyChain,
    first_needed,
    last_needed,
    plan_frames,
)
from bridge_server.headless.record import Record, file_sha256, record_path
from bridge_server.media import Deliver, Output, Plate, PlateFrame, open_output, open_plate
from bridge_server.media.content import content_key, frame_digest
from bridge_server.media.deliver import MOVIE_SUFFIXES
from bridge_server.media.movie_out import MovieOutput
from bridge_server.media.sequences import is_pattern
from bridge_server.picture import (
    Spaces,
    color_of,
    join,
    luma_for_network,
    rejoin,
    working_size,
)
from bridge_server.picture.delivery import join_settings, spaces_of
from host_plugins.client import (
    BridgeError,
    ClipFrame,
    ColoredFrame,
    ExemplarPicture,
    Server,
    Session,
    plane,
)

WARNINGS = ("compiled", "step_down", "snapshot_failed", "worker_lost")  # events to be told of


@dataclass(frozen=True)
class Progress:
    """Told after every frame: how many are done of how many."""

    done: int
    total: int
    index: int


class Runner:
    """Runs one job. `cancel` may be called from any thread or signal handler."""

    def __init__(
        self,
        job: ColorizeJob,
        server: Server,
        *,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        on_event: Callable[[str, Mapping[str, Any]], None] = lambda name, data: None,
    ) -> None:
        self._job = job
        self._server = server
        self._on_progress = on_progress
        self._on_event = on_event
        self._held: dict[int, PlateFrame] = {}
        self._pipeline = Pipeline(self._cancel_session)
        self._session: Session | None = None
        self._plan = FramePlan(set())
        self._journal: Journal | None = None
        self._behind = False  # frames out of the journal are still to be written
        self.record = Record(
            str(job.plate), str(job.output), job.effect, {**job.parameters, "frames": job.frames}
        )

    def run(self) -> Record:
        """Color the clip. Returns the record, also written beside the output.

        Raises BridgeError; frames that were finished stay, and the record says what happened.
        """
        began = time.perf_counter()
        torch.set_num_threads(1)  # one thread joins; the cores belong to the worker's networks
        plate = open_plate(self._job.plate, self._job.frames)
        self._open_journal()
        try:
            self._require_free_output()
            self._color(plate)
            self.record.status = "cancelled" if self._pipeline.stopped.is_set() else "done"
        except BridgeError as error:
            self.record.status = "failed"
            self.record.error = {"code": error.code, "message": error.message, "hint": error.hint}
            raise
        finally:
            self._close_journal()
            wall = time.perf_counter() - began
            self.record.times_s["wall"] = wall
            self.record.frames_per_s = round(self.record.frames_done / max(wall, 1e-6), 3)
            with suppress(OSError):
                self.record.save(record_path(self._job.output))
        return self.record

    def cancel(self) -> None:
        """Stop after the frames that are finished."""
        self._pipeline.stopped.set()
        threading.Thread(target=self._cancel_session, daemon=True).start()

    # --- the parts ---

    def _cancel_session(self) -> None:
        if self._session is not None:
            self._session.cancel()

    def _color(self, plate: Plate) -> None:
        info, record = plate.info, self.record
        record.full_size = (info.height, info.width)
        record.frames_asked = len(info.frames)
        record.notes.extend(info.notes)
        exemplars = [self._exemplar(index, path) for index, path in self._job.exemplars]
        session = self._open_session(exemplars)
        try:
            self._note_session(session, plate)
            spaces = spaces_of(info, session.effective, config=self._job.ocio_config)
            output = open_output(self._job.output, info, self._deliver())
            record.notes.extend(output.notes)
            try:
                self._look_back(plate, output)
                needed = first_needed(info.frames, self._plan)
                if needed < session.first_wanted:
                    session.close()  # its state is behind frames that must be made again
                    session = self._open_session(exemplars, upto=needed)
                self._stream(session, plate, spaces, output)
                self._note_peak()
            except BaseException:
                self._finish(output)
                raise
            self._finish(output)
        finally:
            session.close()

    def _look_back(self, plate: Plate, output: Output) -> None:
        """Find out which frames an earlier run of the same job has made."""
        record = self.record
        settings = pixel_settings(
            self._job,
            output.target,
            record.effective,
            record.made_by,
            [str(told["sha256"]) for told in record.exemplars],
        )
        self._plan = plan_frames(plate, output, settings, self._job.cuts, force=self._job.overwrite)
        self._chain = KeyChain(settings, self._job.cuts)
        if self._journal is not None:
            journal, frames = self._journal, list(plate.info.frames)
            key = content_key(plate_key(self._job), {**self._chain.settings, "frames": frames})
            if self._job.output.exists() and not self._job.overwrite and not journal.fits(key):
                raise self._output_exists()
            journal.begin(key)
            self._plan.needed.difference_update(frames[: journal.count])
            self._behind = journal.count > 0
            if isinstance(output, MovieOutput):
                output.delivering = journal.delivering
        self.record.frames_kept = len(plate.info.frames) - len(self._plan.needed)

    def _replay(self, plate: Plate, settings: Any, output: Output) -> None:
        """Give the encoder the frames that an earlier run made."""
        started = time.perf_counter()
        kept = self._journal.read() if self._journal is not None else iter(())
        for position, (color, frame) in enumerate(zip(kept, plate, strict=False)):
            if self._pipeline.stopped.is_set():
                return
            output.write(rejoin(frame, color, settings, output.target))
            self._on_progress(Progress(position + 1, self.record.frames_asked, frame.index))
        if self._behind:
            self.record.add_time("replay", time.perf_counter() - started)
        self._behind = False

    def _stream(self, session: Session, plate: Plate, spaces: Spaces, output: Output) -> None:
        pipeline, job = self._pipeline, self._job
        decoded, colored = pipeline.channel(), pipeline.channel()
        frames = list(plate.info.frames)
        end = last_needed(frames, self._plan)
        first = min(session.first_wanted, end)

        def read() -> None:
            for position, frame in enumerate(plate):
                if position >= end:
                    break
                self._note_key(frame)
                if position >= first and not pipeline.put(decoded, self._outgoing(frame, spaces)):
                    return
            pipeline.put(decoded, None)

        def write() -> None:
            settings = join_settings(
                spaces, session.effective, chroma_layer=job.deliver.chroma_layer
            )
            self._replay(plate, settings, output)
            while (result := pipeline.get(colored)) is not None:
                self._write(result, settings, output, len(frames))

        def again(k: int) -> ClipFrame:
            return self._outgoing(plate.read(frames[first + k]), spaces)

        pipeline.start(read)
        writer = pipeline.start(write)
        try:
            for result in session.stream(iter(lambda: pipeline.get(decoded), None), reread=again):
                self._note_result(result)
                if not pipeline.put(colored, result):
                    break
            pipeline.put(colored, None)
            writer.join()
        except BaseException as error:
            pipeline.fail(error)
        pipeline.finish()

    def _outgoing(self, frame: PlateFrame, spaces: Spaces) -> ClipFrame:
        started = time.perf_counter()
        luma = luma_for_network(frame, spaces).astype(np.float16)
        self._held[frame.index] = frame
        self.record.add_time("decode", time.perf_counter() - started)
        return ClipFrame(frame.index, (plane("y", luma),), cut=frame.index in self._job.cuts)

    def _write(self, result: ColoredFrame, settings: Any, output: Output, total: int) -> None:
        started = time.perf_counter()
        frame = self._held.pop(result.index)
        if result.index not in self._plan.needed:
            return  # it was run for the state only; its file is there
        buffer = result.buffers[0]
        chroma = np.frombuffer(buffer.data, buffer.dtype).reshape(buffer.shape)
        joined = join(frame, chroma, settings, output.target)
        if self._journal is not None:
            self._journal.add(color_of(joined.picture), output.target.bits)
        middle = time.perf_counter()
        self._plan.begin(result.index)
        output.write(joined)
        self._plan.done(result.index)
        self.record.add_time("join", middle - started)
        self.record.add_time("encode", time.perf_counter() - middle)
        self.record.frames_done += 1
        done = self.record.frames_done + self.record.frames_kept
        self._on_progress(Progress(done, total, result.index))

    def _finish(self, output: Output) -> None:
        """Give finished frames their final names; drop an output that holds none, or not all."""
        done = self.record.frames_done + self.record.frames_kept
        if not done or self._behind:
            output.abort()
            return
        self.record.files = [str(path) for path in output.finish()]
        if self._journal is not None and done == self.record.frames_asked:
            self._journal.remove()

    def _open_session(
        self, exemplars: Sequence[ExemplarPicture], *, upto: int | None = None
    ) -> Session:
        started = time.perf_counter()
        self._session = self._server.open(
            self._job.effect,
            self._job.parameters,
            exemplars,
            want={"dtype": "<f2"} if upto is None else {"dtype": "<f2", "upto": upto},
            priority=self._job.priority,
            job=job_key(self._job),
            total=self.record.frames_asked,
            on_event=self._event,
        )
        self.record.add_time("load", time.perf_counter() - started)
        return self._session

    def _event(self, name: str, data: Mapping[str, Any]) -> None:
        if name == "effective":
            self.record.ran.update(data)
        elif name == "compiled" and data["code"] == "compiled":
            self.record.notes.append(str(data["text"]))
        elif name in WARNINGS:
            self.record.warn(str(data["text"]))
        self._on_event(name, data)

    def _exemplar(self, index: int | None, path: Path) -> ExemplarPicture:
        picture = exemplar_picture(index, path)
        told = {"path": str(path), "frame": index, "sha256": file_sha256(path)}
        self.record.exemplars.append(told)
        return picture

    def _deliver(self) -> Deliver:
        """What the user asked of the files, with what made the colors in their headers."""
        told = {f"chromabridge:{name}": str(value) for name, value in self.record.made_by.items()}
        return replace(self._job.deliver, metadata={**told, **self._job.deliver.metadata})

    def _note_key(self, frame: PlateFrame) -> None:
        if self._plan.index is not None and frame.index not in self._plan.keys:
            self._plan.keys[frame.index] = self._chain.next(frame.index, frame_digest(frame))

    def _note_session(self, session: Session, plate: Plate) -> None:
        effective = dict(session.effective)
        self.record.made_by = dict(effective.pop("made_by", {}))
        self.record.effective = effective
        self.record.working_size = working_size(
            plate.info.height, plate.info.width, int(effective["working_size"])
        )
        self.record.server = dict(self._server.info)
        self.record.notes.extend(session.warnings)

    def _note_peak(self) -> None:
        with suppress(BridgeError):  # a figure is no reason to fail a run that is done
            self.record.peak_bytes = self._server.status()["worker"]["memory"].get("peak")

    def _note_result(self, result: ColoredFrame) -> None:
        for stage in ("prepare", "network", "enlarge", "queue"):
            self.record.add_time(stage, float(result.times_us.get(stage, 0)) / 1e6)
        if "warm_up" in result.times_us:
            self.record.add_time("warm_up", float(result.times_us["warm_up"]) / 1e6)
        for text in result.degraded:
            self.record.warn(text)

    def _open_journal(self) -> None:
        output = self._job.output
        if is_pattern(output) or output.suffix.lower() not in MOVIE_SUFFIXES:
            return
        try:
            self._journal = Journal(output)
        except OSError as error:
            self.record.warn(f"a run that is killed begins this movie anew: {error}")

    def _close_journal(self) -> None:
        journal = self._journal
        if journal is None:
            return
        if journal.trouble:
            self.record.warn(journal.trouble)
        journal.close()
        self.record.journal = str(journal.path) if journal.path.exists() else ""

    def _require_free_output(self) -> None:
        output = self._job.output
        if is_pattern(output) or self._job.overwrite or not output.exists():
            return
        if self._journal is None or not self._journal.delivered(output):
            raise self._output_exists()

    def _output_exists(self) -> BridgeError:
        where = self._job.output
        return BridgeError("output_exists", f"expected a free name for the output, got {where}")
