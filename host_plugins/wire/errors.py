"""Stable error codes and the one exception that carries them to a user."""

from __future__ import annotations

from typing import Optional


class BridgeError(Exception):
    """A failure that a user can act on.

    code: one of CODES, stable across versions. message: one sentence that says what was expected
    and what came. hint: what to do next. retry: the same request may be sent again unchanged.
    wait_ms: how long to wait before that, when the server knows.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str = "",
        retry: bool = False,
        wait_ms: Optional[int] = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint or CODES.get(code, "")
        self.retry = retry
        self.wait_ms = wait_ms

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]" + (f" {self.hint}" if self.hint else "")


#: code -> what to do when no better hint is known. Documentation is generated from this table.
CODES: dict[str, str] = {
    # The connection
    "no_server": "Start one with: chromabridge serve",
    "server_not_installed": "Install the server with: python3 install/bootstrap.py server",
    "server_start_failed": "Run 'chromabridge serve' in a terminal to see why it does not start.",
    "already_running": "Use that server, or stop it with: chromabridge stop",
    "port_taken": "Choose another port with --port, or 0 for any free one.",
    "remote_refused": "Connect to a loopback address, or set up keys first: chromabridge keys new",
    "version": "Install the same ChromaBridge version on both sides.",
    "auth": "Use the connection file of the running server; restart the host if it is stale.",
    "away": "Start the server on the other machine; a job that waits goes on by itself.",
    "disconnected": "The server went away; run the job again, finished frames are kept.",
    "timeout": "Look at 'chromabridge status'; the server may be busy or gone.",
    "shutting_down": "The server is stopping; start it again and re-run the job.",
    # Messages
    "bad_header": "The two sides disagree about the protocol; install the same version on both.",
    "too_big": "Send smaller pictures, or raise the server's limit.",
    "unsupported": "The server does not know this request; update it.",
    "no_credit": "Wait for results before sending more frames.",
    "unknown_session": "The session has ended; open it again.",
    "gap": "Send the frame that the server names.",
    "gone": "The result is no longer kept; run that frame again in a new session.",
    "busy": "Wait and try again.",
    "deadline": "Give the job more time.",
    # What was asked for
    "unknown_effect": "Run 'chromabridge effects' for the list.",
    "unknown_param": "Run 'chromabridge effects' for the list of parameters.",
    "bad_param": "Choose a value inside the range that the effect describes.",
    "bad_frame": "Send every frame of a session with the size and type that it began with.",
    "bad_exemplar": "Use a color picture that opens in an image viewer.",
    "exemplar_missing": "Give at least one color still.",
    "weights_missing": "Fetch them with: chromabridge weights fetch",
    "weights_mismatch": "Fetch the weights again; the file does not fit the network.",
    "license_required": "Read and accept the licence with: chromabridge license accept",
    "license_forbidden": "Site policy forbids these weights; choose another effect.",
    "accelerator_required": "Drop the requirement, or install what the reason names.",
    "path_refused": "Send the picture itself, or ask the operator to allow the folder.",
    # Installing weights and kernels
    "offline": "Bring the file by hand and use: chromabridge weights import",
    "download_failed": "Try again later; the download goes on where it stopped.",
    "hash_mismatch": "The file is not the one that was pinned; ask where it came from.",
    "bad_archive": "Fetch the file again from its authors.",
    "bad_weights": "Use the file as its authors offer it.",
    "unknown_weights": "Run 'chromabridge weights list' for the names.",
    "not_writable": "Choose a folder that you may write to, with CHROMABRIDGE_HOME.",
    "locked": "Wait until the other installation is done.",
    "kernel_unready": "Install what the check names; the kernel is optional.",
    "kernel_failed": "Read the build log; the kernel is optional.",
    # Hosts
    "host_refused": "Close any open dialog in the host and try again.",
    "host_lost": "Start the host and run again; finished frames are kept.",
    "host_changed": "Run again on the timeline as it is now.",
    "host_not_found": "Start Resolve Studio and allow external scripting.",
    "host_unsupported": "See the table of editions in docs/resolve.md.",
    "host_nothing": "Choose clips that have media of their own.",
    # Files
    "clip_unreadable": "Check that the file exists and plays in a media player.",
    "frame_missing": "Render or copy the missing frames, or choose another range.",
    "interlaced": "De-interlace the clip first, or process it per field.",
    "unsupported_format": "Choose a format from the list in docs/headless.md.",
    "output_exists": "Choose another name, or pass --overwrite.",
    "output_not_writable": "Choose a folder that you may write to.",
    "disk_full": "Free some space and run the job again; finished frames are kept.",
    # Inside the server
    "oom": "Choose a smaller working size or memory mode low_memory.",
    "model": "The network failed on this frame; the server's log has the details.",
    "worker_lost": "The GPU worker died and was restarted; run the job again.",
    "internal": "This is a fault of ChromaBridge; please report it with the server's log.",
    "cancelled": "The job was cancelled; finished frames are kept.",
}
