"""What a server counts, for Prometheus and for the status page.

The front's thread counts and publishes a picture of it twice a second; others only read what was
published last, so nobody who asks can hold the front up.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from host_plugins.wire import messages as m

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from bridge_server.front.sessions import SessionRecord
    from bridge_server.thumbnails import Sample

PUBLISH_S = 0.5
CLASSES = ("interactive", "review", "batch")
#: upper bounds in seconds of a stage's histogram
BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SAMPLE_S = 1.0
#: thumbnails are taken only while somebody has looked at the page so recently
WATCHED_S = 60.0
MAX_STAGES = 32


class Metrics:
    """See the module. `watched` is the one thing that a reader sets: when it looked last."""

    def __init__(self) -> None:
        self.published: Mapping[str, Any] = {}
        self.watched = -WATCHED_S
        self._samples: dict[str, Sample] = {}
        self._notes: dict[bytes, m.Ready] = {}
        self._last: dict[bytes, int] = {}
        self._next_sample: dict[bytes, float] = {}
        self._frames = 0
        self._worker_deaths = 0
        self._device_s = [0.0] * len(CLASSES)
        self._stages: dict[str, list[int]] = {}
        self._stage_sums: dict[str, float] = {}
        self._next = 0.0

    def heard(self, message: m.Message, record: SessionRecord | None) -> None:
        """Count what a worker said; called before the session takes it. record: the session's."""
        if record is None:
            return
        if isinstance(message, m.Ready):
            self._notes[record.id] = message
        elif isinstance(message, m.Result):
            self._frames += 1
            self._last[record.id] = message.index
            self._device_s[record.priority] += float(message.times_us.get("total", 0)) / 1e6
            for stage, took in message.times_us.items():
                self._count_stage(stage, float(took) / 1e6)
            self._sample(message, record)

    def worker_died(self) -> None:
        self._worker_deaths += 1

    def publish(
        self,
        status: Callable[[], Mapping[str, Any]],
        records: Iterable[SessionRecord],
        resent: int,
    ) -> None:
        """Make a new picture for readers, if one is due. status: what `chromabridge status` has."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + PUBLISH_S
        kept = list(records)
        alive = {record.id for record in kept}
        for table in (self._notes, self._last, self._next_sample):
            for gone in [session for session in table if session not in alive]:
                del table[gone]
        names = {session.hex()[:8]: session for session in alive}
        self._samples = {name: taken for name, taken in self._samples.items() if name in names}
        told = dict(status())
        told["sessions"] = [
            {**shown, **self._details(names.get(shown["id"], b""))} for shown in told["sessions"]
        ]
        self.published = {
            **told,
            "samples": self._samples.copy(),
            "frames": self._frames,
            "resent": resent,
            "queue": sum(len(record.queue) for record in kept),
            "running": sum(len(record.running) for record in kept),
            "unacknowledged": sum(len(record.results) for record in kept),
            "open": len(kept),
            "worker_deaths": self._worker_deaths,
            "device_s": dict(zip(CLASSES, self._device_s, strict=True)),
            "stages": {
                stage: (tuple(counts), self._stage_sums[stage])
                for stage, counts in self._stages.items()
            },
        }

    def _details(self, session: bytes) -> dict[str, Any]:
        ready = self._notes.get(session)
        return {
            "last": self._last.get(session),
            "notes": list(ready.warnings) if ready else [],
            "made_by": dict(ready.effective.get("made_by") or {}) if ready else {},
            "thumbnail": session.hex()[:8] in self._samples,
        }

    def _count_stage(self, stage: str, seconds: float) -> None:
        if stage not in self._stages:
            if len(self._stages) >= MAX_STAGES:
                return
            self._stages[stage] = [0] * (len(BUCKETS) + 1)
            self._stage_sums[stage] = 0.0
        self._stages[stage][bisect_left(BUCKETS, seconds)] += 1
        self._stage_sums[stage] += seconds

    def _sample(self, result: m.Result, record: SessionRecord) -> None:
        now = time.monotonic()
        if now - self.watched > WATCHED_S or now < self._next_sample.get(record.id, 0.0):
            return
        from bridge_server.thumbnails import take

        waiting = record.running.get(result.q)
        taken = take(waiting.message, result) if waiting else None
        if taken is not None:
            self._next_sample[record.id] = now + SAMPLE_S
            self._samples[record.id.hex()[:8]] = taken


def exposition(published: Mapping[str, Any]) -> bytes:
    """The published picture in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Published(Collector):
        def collect(self) -> Iterator[Metric]:
            return _metrics(published)

    registry = CollectorRegistry()
    registry.register(Published())
    return generate_latest(registry)


def _metrics(told: Mapping[str, Any]) -> Iterator[Metric]:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    for name, key, hint in (
        ("frames", "frames", "Frames that the worker finished."),
        ("results_resent", "resent", "Results sent again from those kept."),
        ("worker_deaths", "worker_deaths", "Times that the worker died and was started again."),
    ):
        yield CounterMetricFamily(f"chromabridge_{name}", hint, value=told[key])
    for name, key, hint in (
        ("sessions", "open", "Open sessions, parked ones among them."),
        ("clients", "clients", "Connected clients."),
        ("queued_frames", "queue", "Frames that wait for the worker."),
        ("running_frames", "running", "Frames that the worker holds."),
        ("unacknowledged_results", "unacknowledged", "Results kept until they are acknowledged."),
        ("uptime_seconds", "uptime_s", "How long the server has run."),
    ):
        yield GaugeMetricFamily(f"chromabridge_{name}", hint, value=told[key])
    yield GaugeMetricFamily(
        "chromabridge_worker_up", "1 when the worker is ready.", value=int(told["worker"]["up"])
    )
    memory = told["worker"].get("memory")
    if memory:
        for name, hint in (
            ("used", "Memory in use on the device; on a CPU, the worker's resident memory."),
            ("total", "Memory of the device; on a CPU, the worker's budget."),
            ("held", "Memory that the worker itself holds."),
        ):
            family = GaugeMetricFamily(
                f"chromabridge_device_memory_{name}_bytes", hint, labels=["device"]
            )
            family.add_metric([str(memory["device"])], memory[name])
            yield family
    device = CounterMetricFamily(
        "chromabridge_device_seconds", "Device time by priority.", labels=["priority"]
    )
    for priority, seconds in told["device_s"].items():
        device.add_metric([priority], seconds)
    yield device
    stages = HistogramMetricFamily(
        "chromabridge_stage_seconds", "Time of a frame's stages.", labels=["stage"]
    )
    for stage, (counts, total) in told["stages"].items():
        below = [sum(counts[: k + 1]) for k in range(len(counts))]
        bounds = [*(str(bound) for bound in BUCKETS), "+Inf"]
        stages.add_metric([stage], list(zip(bounds, below, strict=True)), total)
    yield stages
