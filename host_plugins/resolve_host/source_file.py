"""Reading a clip's own files instead of rendering, where the timeline shows them as they are.

Image sequences are read where they lie; frames of a movie are unpacked by the server's command.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional

from host_plugins.launch import server_command
from host_plugins.resolve_host.calls import Calls
from host_plugins.resolve_host.clips import TimelineClip
from host_plugins.resolve_host.frames import Rate
from host_plugins.resolve_host.host import ResolveHost
from host_plugins.resolve_host.properties import clip_property
from host_plugins.resolve_host.steps import Step
from host_plugins.wire.buffers import FILE_ENCODINGS
from host_plugins.wire.errors import BridgeError

_SEQUENCE = re.compile(r"^(?P<head>.*?)\[(?P<first>\d+)-(?P<last>\d+)\](?P<tail>[^\\/]*)$")
MOVIES = (".mov", ".mp4", ".mxf", ".mkv", ".avi", ".m4v", ".webm")
POLL_S = 0.2


def sequence_files(path: str) -> Optional[list[Path]]:
    """The files behind Resolve's `name.[0001-0100].exr`; None when it is not written so."""
    found = _SEQUENCE.match(path)
    if not found:
        return None
    width = len(found["first"])
    return [
        Path(f"{found['head']}{number:0{width}d}{found['tail']}")
        for number in range(int(found["first"]), int(found["last"]) + 1)
    ]


def why_not(host: ResolveHost, timeline: Any, clip: TimelineClip) -> tuple[str, ...]:
    """The reasons against reading this clip's file; none when it can be read."""
    calls, reasons = host.calls, []
    if not clip.path:
        return ("it has no file of its own",)
    files = sequence_files(clip.path)
    suffix = Path(clip.path).suffix.lower()
    if files is not None:
        ending = files[0].suffix.lower().lstrip(".")
        if {"tif": "tiff", "jpg": "jpeg"}.get(ending, ending) not in FILE_ENCODINGS:
            reasons.append(f"{ending} sequences are not read")
        missing = [f for f in files[clip.first_index : clip.last_index + 1] if not f.is_file()]
        if missing or clip.last_index >= len(files):
            reasons.append("files of the sequence are not on this machine")
    elif suffix not in MOVIES:
        reasons.append(f"{suffix or 'such'} files are not read")
    elif not Path(clip.path).is_file():
        reasons.append("the file is not on this machine")
    told = clip_property(calls, clip.media, "FPS")
    if told and not Rate.parse(told).same_as(host.rate(timeline)):
        reasons.append(f"its rate of {told} is not the timeline's")
    elif _retimed(calls, clip):
        reasons.append("it is retimed")
    return tuple(reasons)


def read_source(
    clip: TimelineClip,
    folder: Path,
    *,
    run: Callable[..., Any] = subprocess.Popen,
) -> Generator[Step, None, list[Path]]:
    """Yields progress, returns one picture file for each frame of the clip, in order.

    Raises BridgeError clip_unreadable.
    """
    files = sequence_files(clip.path)
    count = clip.range.count
    if files is not None:
        yield Step("plate", count, count)
        return files[clip.first_index : clip.last_index + 1]
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        *server_command(), "resolve", "unpack", clip.path, str(folder),
        "--first", str(clip.first_index), "--last", str(clip.last_index),
    ]  # fmt: skip
    yield from run_command(command, lambda: Step("plate", len(_unpacked(folder)), count), run=run)
    unpacked = _unpacked(folder)
    if len(unpacked) != count:
        raise BridgeError(
            "frame_missing", f"expected {count} frames out of {clip.path}, got {len(unpacked)}"
        )
    return unpacked


def run_command(
    command: Sequence[str],
    look: Callable[[], Step],
    *,
    run: Callable[..., Any] = subprocess.Popen,
) -> Generator[Step, None, None]:
    """Run one of the server's commands, with a step now and then; it is ended when closed early.

    Raises BridgeError clip_unreadable with the command's last words.
    """
    process = run(
        list(command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        while process.poll() is None:
            yield replace(look(), pause_s=POLL_S)
    finally:
        if process.poll() is None:
            process.terminate()
        said = process.communicate()[1] or b""
    if process.returncode:
        raise BridgeError("clip_unreadable", f"Reading or writing a movie failed: {_reason(said)}")


def _reason(said: bytes) -> str:
    """A failed command's first sentence: our own begin with "error CODE:"."""
    lines = [line.strip(" │") for line in said.decode(errors="replace").splitlines()]
    words = [line for line in lines if any(c.isalnum() for c in line)]
    errors = [line for line in words if line.startswith("error ")] or words[-1:]
    return errors[0] if errors else "no reason was given"


def _unpacked(folder: Path) -> list[Path]:
    return sorted(folder.glob("source.*.tif"))


def _retimed(calls: Calls, clip: TimelineClip) -> bool:
    """Whether source and timeline lengths differ; source frames may read one low."""
    first = calls.get(clip.item, "GetSourceStartFrame")
    last = calls.get(clip.item, "GetSourceEndFrame")
    if first is None or last is None:
        return False
    length = int(last) - int(first) + 1
    return abs(length - clip.range.count) > 1
