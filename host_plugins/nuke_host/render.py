"""Getting pixels out of Nuke: the PLATE Write in small blocks on the main thread.

A frame goes to the job's queue as soon as its file is whole; the job's thread sends it while Nuke
renders the next one.
"""

from __future__ import annotations

from typing import Any

import nuke

from host_plugins.host_layer import PlateFile, PlateQueue, expand_pattern
from host_plugins.nuke_host.main_thread import full_size, unnoticed
from host_plugins.nuke_host.plan import ViewPlan
from host_plugins.wire.errors import BridgeError

BLOCK_FRAMES = 8
#: Nuke pauses while so many frames wait to be sent, which bounds what lies on the disk unread
MAX_WAITING = 24

MORE, END, BUSY = "more", "end", "busy"


class PlateRender:
    """Renders one view's plate. All methods are for the main thread."""

    def __init__(self, node: Any, view: ViewPlan, first: int, last: int, queue: PlateQueue) -> None:
        self._name = node.fullName()
        self._view = view
        self._next = self._due = first
        self._last = last
        self._queue = queue

    def block(self) -> str:
        """Render the next few frames; returns MORE, END, or BUSY when Nuke does something else.

        A render that fails or is cancelled closes the queue with the reason.
        """
        first, last = self._next, min(self._next + BLOCK_FRAMES - 1, self._last)
        node = nuke.toNode(self._name)
        if node is None:
            return self._stop(BridgeError("cancelled", f"{self._name} was deleted"))
        try:
            self._execute(node.node("PLATE"), first, last)
        except RuntimeError as error:
            text = str(error)
            if "already executing" in text:
                return BUSY
            if "cancel" in text.lower():
                return self._stop(BridgeError("cancelled", "the render was cancelled"))
            return self._stop(
                BridgeError("frame_missing", f"Nuke could not render frame {first}: {text}")
            )
        for frame in range(first, last + 1):
            self._send(frame)
        if self._due <= last:
            return self._stop(BridgeError("frame_missing", f"Nuke wrote no frame {self._due}"))
        self._next = last + 1
        if self._next > self._last:
            self._queue.close()
            return END
        return MORE

    def _execute(self, write: Any, first: int, last: int) -> None:
        told: Any = (self._rendered, (write.fullName(),), {}, "Write")
        with unnoticed(), full_size():
            write["file"].setValue(self._view.plate)
            write["disable"].setValue(False)
            nuke.addAfterFrameRender(*told)
            try:
                nuke.execute(write, first, last, 1, [self._view.view], continueOnError=False)
            finally:
                nuke.removeAfterFrameRender(*told)
                write["disable"].setValue(True)

    def _rendered(self, write: str) -> None:
        """Nuke calls this after every frame of any Write; its file is whole by then."""
        if nuke.thisNode().fullName() == write:
            self._send(nuke.frame())

    def _send(self, frame: int) -> None:
        path = expand_pattern(self._view.plate, frame)
        if frame == self._due and path.is_file():
            self._due += 1
            self._queue.put(PlateFile(frame, path))

    def _stop(self, error: BridgeError) -> str:
        self._queue.close(error)
        return END


def render_exemplar(node: Any, frame: int, view: str, pattern: str) -> str:
    """Render the Exemplar input at a frame as people see it: a display-encoded PNG.

    pattern: its name with %06d. Returns the file's name. Raises BridgeError bad_exemplar.
    """
    write = node.node("EXEMPLAR")
    try:
        with unnoticed(), full_size():
            write["file"].setValue(pattern)
            write["disable"].setValue(False)
            nuke.execute(write, frame, frame, 1, [view], continueOnError=False)
    except RuntimeError as error:
        raise BridgeError("bad_exemplar", f"Nuke could not render it: {error}") from None
    finally:
        with unnoticed():
            write["disable"].setValue(True)
    return str(expand_pattern(pattern, frame))
