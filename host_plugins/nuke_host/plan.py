"""What a run will do, found out on the main thread before anything starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import nuke

from host_plugins.host_layer import JobSpec, Panel, PlateFile, Settings, expand_pattern, run_id
from host_plugins.nuke_host import group
from host_plugins.nuke_host.knobs import read_values
from host_plugins.wire.errors import BridgeError

#: files that the server decodes and Nuke shows alike, once both are told the same color space
_SENT_AS_THEY_ARE = (".exr", ".dpx", ".tif", ".tiff", ".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Reading:
    """How a Read must be set to show a file: the upstream Read's own words, or raw."""

    raw: bool = True
    colorspace: str = ""


@dataclass(frozen=True)
class ViewPlan:
    """One view's work. files: the plate's own files when it is an untouched Read, else None and
    the plate is rendered to `plate`."""

    view: str
    spec: JobSpec
    plate: str
    files: Optional[tuple[PlateFile, ...]]
    reading: Reading


@dataclass(frozen=True)
class Plan:
    """frames: inclusive range. preview: one frame into PREVIEW, in place of RESULT."""

    first: int
    last: int
    preview: bool
    views: tuple[ViewPlan, ...]
    folder: Path = field(default_factory=Path)

    @property
    def result(self) -> str:
        """The result's file name as a Read takes it."""
        return f"{self.folder.as_posix()}/result.%V.%06d.exr"


def make_plan(node: Any, panel: Panel, settings: Settings, *, preview: bool = False) -> Plan:
    """Look at the node and its surroundings. Raises BridgeError when something is missing."""
    if node.input(0) is None:
        raise BridgeError(
            "clip_unreadable",
            "nothing is connected to Source",
            hint="Connect the black-and-white clip to the Source input.",
        )
    first, last = (nuke.frame(), nuke.frame()) if preview else frame_range(node)
    values = read_values(node, panel)
    pins = tuple(group.pins(node))
    if "input_space" in values and not values["input_space"]:
        values["input_space"] = plate_space(node)
    run = run_id(panel.effect, values, pins, first if preview else "")
    folder = node_folder(node, settings) / ("preview-" + run if preview else run)
    views = tuple(
        _view_plan(node, view, panel, values, pins, folder, first, last, preview)
        for view in _views(node)
    )
    return Plan(first, last, preview, views, folder)


def frame_range(node: Any) -> tuple[int, int]:
    """The range that the node's knobs ask for. Raises BridgeError bad_param when it is empty."""
    asked = node["cb_range"].value()
    if asked == "custom":
        first, last = int(node["cb_first"].value()), int(node["cb_last"].value())
    elif asked == "project":
        root = nuke.root()
        first, last = int(root["first_frame"].value()), int(root["last_frame"].value())
    else:
        found = node.input(0).frameRange()
        first, last = int(found.first()), int(found.last())
    if last < first:
        raise BridgeError("bad_param", f"the frame range {first} to {last} is empty")
    return first, last


def color_facts() -> dict[str, str]:
    """The project's color management, as text."""
    root = nuke.root()
    facts = {}
    for name in ("colorManagement", "OCIO_config", "workingSpaceLUT", "customOCIOConfigPath"):
        knob = root.knob(name)
        if knob is not None:
            facts[name] = str(knob.value())
    return facts


def plate_space(node: Any) -> str:
    """The plate's color space for the server: "" is what its default for the file is.

    A rendered plate is in the working space; a file that is sent is in that of its Read.
    """
    facts = color_facts()
    if facts.get("colorManagement") != "OCIO":
        return ""  # linear Rec.709 for floats, display-encoded for integers, as with us
    read = untouched_read(node)
    if read is not None and not read["raw"].value():
        return str(read["colorspace"].value())
    return facts.get("workingSpaceLUT", "").split(" (")[0]


def untouched_read(node: Any) -> Optional[Any]:
    """The Read whose files are the node's input as they are; None when the input must be rendered.

    Its frames must not be shifted, and its color conversion must be one that the server knows and
    that the result's Read can repeat by name.
    """
    read = node.input(0)
    while read is not None and read.Class() == "Dot":
        read = read.input(0)
    if read is None or read.Class() != "Read" or nuke.root()["proxy"].value():
        return None
    file = str(read["file"].value())
    suffix = Path(file).suffix.lower()
    if suffix not in _SENT_AS_THEY_ARE or "[" in file or "%v" in file.lower():
        return None
    if str(read["frame"].value()).strip() or read["premultiplied"].value():
        return None
    if read["raw"].value():
        return read if suffix == ".exr" else None
    colorspace = str(read["colorspace"].value())
    if color_facts().get("colorManagement") == "OCIO":
        return read if colorspace and not colorspace.startswith("default") else None
    known = ("linear",) if suffix == ".exr" else ("sRGB", "rec709")
    return read if colorspace in known else None


def _view_plan(
    node: Any,
    view: str,
    panel: Panel,
    values: Mapping[str, Any],
    pins: tuple[Any, ...],
    folder: Path,
    first: int,
    last: int,
    preview: bool,
) -> ViewPlan:
    read = untouched_read(node)
    files, reading = None, Reading()
    if read is not None:
        pattern = str(read["file"].value())
        files = tuple(PlateFile(i, expand_pattern(pattern, i)) for i in range(first, last + 1))
        missing = [str(plate.index) for plate in files if not plate.path.is_file()]
        if missing:
            raise BridgeError(
                "frame_missing",
                f"{len(missing)} frames of {Path(pattern).name} are missing: "
                + ", ".join(missing[:10]),
            )
        raw = bool(read["raw"].value())
        reading = Reading(raw, "" if raw else str(read["colorspace"].value()))
    spec = JobSpec(
        effect=panel.effect,
        values=values,
        pins=pins,
        folder=folder,
        name=f"result.{view}",
        total=last - first + 1,
        priority="interactive" if preview else "batch",
        facts={
            **color_facts(),
            "node": node.fullName(),
            "script": str(nuke.root()["name"].value()),
            "view": view,
            "plate": "the files of its Read" if files else "rendered, 16 bit half, raw",
        },
    )
    return ViewPlan(view, spec, f"{folder.as_posix()}/plate.{view}.%06d.exr", files, reading)


def _views(node: Any) -> tuple[str, ...]:
    asked = str(node["cb_views"].value()).split()
    known = list(nuke.views())
    unknown = [view for view in asked if view not in known]
    if unknown:
        raise BridgeError(
            "bad_param",
            f"expected views of {', '.join(known)}, got {', '.join(unknown)}",
            hint="Correct the field views.",
        )
    return tuple(asked) or tuple(known[:1])


def node_folder(node: Any, settings: Settings) -> Path:
    """Where this node's files go: its own folder knob, NUKE_TEMP_DIR, or the cache."""
    script = Path(str(nuke.root()["name"].value()) or "untitled").stem or "untitled"
    named = str(node["cb_folder"].value())
    if named:
        root = Path(named)
    elif os.environ.get("NUKE_TEMP_DIR") and not settings.cache:
        root = Path(os.environ["NUKE_TEMP_DIR"]) / "chromabridge"
    else:
        root = settings.cache_root / "nuke"
    name = str(node.fullName())
    return root / script / name.replace(".", "_")
