"""Choosing between the CPU and the CUDA build of torch from what the machine has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from install.machine import Machine, nvidia_driver

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_OWN_INDEX = ("index-url", "extra-index-url", "find-links", "no-index")


@dataclass(frozen=True)
class TorchChoice:
    """kind: "cuda", "cpu" or "default". index: an index for torch alone, or "". reason: why."""

    kind: str
    reason: str
    index: str = ""


def choose(
    machine: Machine, python: Path, *, asked: str = "auto", index: Optional[str] = None
) -> TorchChoice:
    """Which torch to install.

    asked: "auto", "cpu" or "cuda". index: the user's own index for torch. Pip's configuration,
    where it names a package source, is never overridden: who wrote it knows what it offers.
    """
    if index:
        return TorchChoice("default", "the index that was asked for", index)
    driver = nvidia_driver(machine)
    if asked == "cuda" or (asked == "auto" and driver):
        why = f"NVIDIA driver {driver}" if driver else "asked for; no NVIDIA driver was found"
        return TorchChoice("cuda", f"{why}: the default wheels carry CUDA")
    if machine.system != "linux":
        return TorchChoice("cpu", "the default wheels of this system hold no CUDA")
    why = "asked for" if asked == "cpu" else "no NVIDIA driver"
    source = _configured_source(machine, python)
    if source:
        return TorchChoice("default", f"{why}; pip's own configuration ({source}) decides")
    return TorchChoice("cpu", f"{why}: the smaller CPU wheels", CPU_INDEX)


def _configured_source(machine: Machine, python: Path) -> str:
    """The first setting of pip that names where packages come from, or ""."""
    for name in _OWN_INDEX:
        if machine.env.get("PIP_" + name.upper().replace("-", "_")):
            return name
    listing = machine.run([str(python), "-m", "pip", "config", "list"]) or ""
    for line in listing.splitlines():
        key = line.split("=", 1)[0].rsplit(".", 1)[-1]
        if key in _OWN_INDEX:
            return key
    return ""
