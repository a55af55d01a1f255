"""Errors in words an artist understands, each with the one thing to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from host_plugins.wire.errors import BridgeError


@dataclass(frozen=True)
class Message:
    """severity: "error", "warning" or "info". title: one line for a panel. text: what to do.

    action: what a button beside it does, "" for none; see ACTIONS. code: the BridgeError's.
    """

    severity: str
    title: str
    text: str
    action: str = ""
    code: str = ""

    @property
    def button(self) -> str:
        """The label of the button, "" for none."""
        return ACTIONS.get(self.action, "")

    def __str__(self) -> str:
        return f"{self.title}\n{self.text}" if self.text else self.title


#: action -> label. "start_server" is Service.start_server, "retry" runs the job again.
ACTIONS = {"start_server": "Start server", "retry": "Try again"}

#: code -> (title, text, action); "{}" is the error's own sentence
WORDS = {
    "no_server": (
        "The ChromaBridge server is not running",
        "Press Start server, or type in a terminal: chromabridge serve",
        "start_server",
    ),
    "server_not_installed": (
        "ChromaBridge is not installed on this computer",
        "The plugin is here, the server is not. In the ChromaBridge folder, type in a terminal: "
        "python3 install/bootstrap.py server",
        "",
    ),
    "server_start_failed": (
        "The ChromaBridge server does not start",
        "{} Type in a terminal to see why: chromabridge doctor",
        "start_server",
    ),
    "remote_refused": (
        "The server on the other computer does not let this one in",
        "{} Ask its operator to add your key, and start on this computer: chromabridge relay",
        "",
    ),
    "version": (
        "Plugin and server are of different versions",
        "{} Install the same version on both sides: python3 install/bootstrap.py hosts",
        "",
    ),
    "auth": (
        "The server does not know this computer's key",
        "{} Close and reopen this program; the key changes when the server is set up anew.",
        "retry",
    ),
    "disconnected": (
        "The server went away while it worked",
        "Finished frames are kept. Try again: only the missing ones are made.",
        "retry",
    ),
    "worker_lost": (
        "The server lost its state",
        "Finished frames are kept. Try again: only the missing ones are made.",
        "retry",
    ),
    "shutting_down": (
        "The server is being stopped",
        "Finished frames are kept. Start it and try again.",
        "start_server",
    ),
    "timeout": (
        "The server does not answer in time",
        "It may be busy with something else; look with: chromabridge status",
        "retry",
    ),
    "busy": ("The server is full at the moment", "{} Try again in a while.", "retry"),
    "weights_missing": (
        "This effect's weights are not on the server yet",
        "{} Choose the effect Starter meanwhile, or fetch them in a terminal: "
        "chromabridge weights fetch",
        "",
    ),
    "weights_mismatch": (
        "This effect's weights are damaged",
        "{} Fetch them again in a terminal: chromabridge weights fetch",
        "",
    ),
    "license_required": (
        "These weights have a licence that you must accept first",
        "{} Read and accept it in a terminal: chromabridge license accept",
        "",
    ),
    "license_forbidden": (
        "This studio does not allow these weights",
        "{} Choose another effect.",
        "",
    ),
    "exemplar_missing": (
        "There is no exemplar yet",
        "Add at least one color still: a file, or a frame that you colored yourself.",
        "",
    ),
    "bad_exemplar": (
        "An exemplar cannot be used",
        "{} Use a color picture that opens in an image viewer.",
        "",
    ),
    "oom": (
        "The picture is too big for the memory of the server's GPU",
        "{} Choose a smaller working size.",
        "retry",
    ),
    "frame_missing": (
        "Frames of the clip are missing",
        "{} Render or copy them, or choose another range.",
        "",
    ),
    "clip_unreadable": ("A file of the clip cannot be read", "{}", ""),
    "disk_full": (
        "The disk for the results is full",
        "{} Free some space or choose another cache folder, then try again; finished frames are "
        "kept.",
        "retry",
    ),
    "output_not_writable": (
        "The results cannot be written there",
        "{} Choose a cache folder that you may write to.",
        "",
    ),
    "cancelled": ("Cancelled", "Finished frames are kept.", ""),
}


def explain(error: Union[BridgeError, Exception]) -> Message:
    """The message for any exception; one that nobody foresaw is told as a fault of ours."""
    if not isinstance(error, BridgeError):
        return Message(
            "error",
            "ChromaBridge met a fault of its own",
            f"{type(error).__name__}: {error}. Please report it.",
            "retry",
            "internal",
        )
    title, text, action = WORDS.get(error.code, (_sentence(error.message), error.hint, ""))
    severity = "info" if error.code == "cancelled" else "error"
    return Message(
        severity, title, text.replace("{}", _sentence(error.message)), action, error.code
    )


def _sentence(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
