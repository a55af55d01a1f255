"""What every host plugin shares: panel, exemplar pins, jobs on a thread, cache, words for errors.

The parts, and what a host does with them (all of it runs on Python 3.9 with msgpack alone):

    settings = load_settings()
    service = Service(settings, name="nuke", version="16.0v3")
    panel = service.remembered("starter") or service.panel("starter").result()  # a Task
    job = service.start(JobSpec(...), plates)      # returns at once
    for state in iter(job.poll, ...):              # from a timer; never blocks
        show(state.done, state.total, state.eta_s, state.message)

Nothing here imports a host's API and nothing blocks the caller: what takes time runs on a thread
and is polled. Only `Task.result` and `Job.wait` wait; they are for terminals, farms and tests.
"""

from host_plugins.host_layer.job import Job, JobSpec, JobState, run_id
from host_plugins.host_layer.messages import Message, explain
from host_plugins.host_layer.panel import Control, ControlState, Panel, Section
from host_plugins.host_layer.pins import Pin, Pins
from host_plugins.host_layer.plates import (
    PlateFile,
    PlatePlane,
    PlateQueue,
    expand_pattern,
)
from host_plugins.host_layer.service import Service
from host_plugins.host_layer.settings import Settings, load_settings, save_settings
from host_plugins.host_layer.tasks import Task

__all__ = [
    "Control",
    "ControlState",
    "Job",
    "JobSpec",
    "JobState",
    "Message",
    "Panel",
    "Pin",
    "Pins",
    "PlateFile",
    "PlatePlane",
    "PlateQueue",
    "Section",
    "Service",
    "Settings",
    "Task",
    "expand_pattern",
    "explain",
    "load_settings",
    "run_id",
    "save_settings",
]
