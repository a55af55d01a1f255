"""Results into the media pool: our bin, the right rate, the right color space, all read back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from host_plugins.resolve_host.calls import RETRY_S, Refused
from host_plugins.resolve_host.color_space import ProjectColor
from host_plugins.resolve_host.frames import Rate
from host_plugins.resolve_host.host import ResolveHost
from host_plugins.resolve_host.labels import BIN_NAME
from host_plugins.resolve_host.properties import clip_property
from host_plugins.resolve_host.restore import Restorer


@dataclass(frozen=True)
class ResultFiles:
    """pattern: `name.%06d.tif` with frames first to last, or a movie's path as it is."""

    pattern: str
    first: int
    last: int

    @property
    def movie(self) -> bool:
        return "%" not in self.pattern

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    @property
    def first_file(self) -> Path:
        return Path(self.pattern if self.movie else self.pattern % self.first)

    @property
    def resolve_path(self) -> str:
        """As Resolve writes it: name.[000001-000100].tif."""
        if self.movie:
            return self.pattern
        head, _, tail = self.pattern.partition("%06d")
        return f"{head}[{self.first:06d}-{self.last:06d}]{tail}"


def import_result(
    host: ResolveHost, files: ResultFiles, *, rate: Rate, color: ProjectColor, notes: list[str]
) -> Any:
    """Import into the bin "ChromaBridge", or find it there; returns the media pool item.

    A color property that Resolve does not take becomes a note; a wrong rate is an error, since
    every frame would be mistimed. Raises Refused.
    """
    calls, pool = host.calls, host.pool()
    restorer = Restorer(host)
    with restorer:
        restorer.bin(pool)
        folder = _our_bin(host, pool)
        media = _find(host, folder, files)
        if media is None:
            # an import always lands in the current bin
            calls.must(pool, "SetCurrentFolder", folder)
            media = _import(host, pool, files) or _find(host, folder, files)
            if media is None:
                calls.sleep(RETRY_S)
                media = _import(host, pool, files) or _find(host, folder, files)
            if media is None:
                calls.check_alive()
                raise Refused(
                    "ImportMedia",
                    f"Resolve imported nothing from {files.pattern}",
                    hint="Drag the sequence into the media pool by hand to see what it says.",
                )
    notes.extend(restorer.notes)
    _set_rate(host, media, rate)
    _set_color(host, media, color, notes)
    return media


def _import(host: ResolveHost, pool: Any, files: ResultFiles) -> Any:
    """The imported clip, or None: the answer may be None, empty, or a list of None."""
    info: dict[str, Any] = {"FilePath": files.pattern}
    if not files.movie:
        info.update(StartIndex=files.first, EndIndex=files.last)
    answer = host.calls.ask(pool, "ImportMedia", [info])
    return next((media for media in answer or [] if media is not None), None)


def _our_bin(host: ResolveHost, pool: Any) -> Any:
    root = host.calls.must(pool, "GetRootFolder")

    def ours() -> Any:
        for folder in host.calls.get(root, "GetSubFolderList", default=[]):
            if host.calls.get(folder, "GetName") == BIN_NAME:
                return folder
        return None

    return ours() or host.calls.must(pool, "AddSubFolder", root, BIN_NAME, done=ours)


def _find(host: ResolveHost, folder: Any, files: ResultFiles) -> Optional[Any]:
    wanted = files.resolve_path.replace("\\", "/")
    for media in host.calls.get(folder, "GetClipList", default=[]):
        path = clip_property(host.calls, media, "File Path")
        if path.replace("\\", "/") == wanted:
            return media
    return None


def _set_rate(host: ResolveHost, media: Any, rate: Rate) -> None:
    """Sequences come in at 24 or at the project's rate, whatever they are."""
    if _has_rate(host, media, rate):
        return
    host.calls.must(
        media,
        "SetClipProperty",
        "FPS",
        rate.text,
        done=lambda: _has_rate(host, media, rate),
        hint=f"Set the clip's frame rate to {rate.text} in Clip Attributes, then run again.",
    )
    if not _has_rate(host, media, rate):
        told = clip_property(host.calls, media, "FPS")
        raise Refused("SetClipProperty", f"The result kept {told} fps instead of {rate.text}")


def _has_rate(host: ResolveHost, media: Any, rate: Rate) -> bool:
    told = clip_property(host.calls, media, "FPS")
    return bool(told) and Rate.parse(told).same_as(rate)


def _set_color(host: ResolveHost, media: Any, color: ProjectColor, notes: list[str]) -> None:
    wanted = [("Alpha mode", "None"), ("Data Level", "Full")]
    if color.managed and color.space:
        wanted.append(("Input Color Space", color.space))
        if color.gamma:
            wanted.append(("Input Gamma", color.gamma))
    for name, value in wanted:
        calls = host.calls
        taken = calls.get(media, "SetClipProperty", name, value)
        if not taken or clip_property(calls, media, name) != value:
            told = clip_property(calls, media, name) or "nothing"
            notes.append(f"Set {name} of the result to {value} by hand: Resolve kept {told}")
