"""What the project's color management says of rendered pixels, and of results that come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from host_plugins.resolve_host.host import ResolveHost


@dataclass(frozen=True)
class ProjectColor:
    """mode: colorScienceMode. space, gamma: the output's, into which renders are encoded."""

    mode: str
    space: str
    gamma: str

    @property
    def managed(self) -> bool:
        """Clips carry an input color space of their own."""
        return self.mode not in ("", "davinciYRGB")

    @property
    def linear(self) -> bool:
        """Renders hold light itself; only half float keeps that."""
        return "linear" in f"{self.space} {self.gamma}".lower()

    @property
    def encoding(self) -> str:
        """For the record."""
        return f"{self.space} {self.gamma}".strip() or "display"

    @property
    def plate_kind(self) -> str:
        """16-bit TIFF for display-encoded renders, half-float EXR for linear ones: the server
        takes integers for display-encoded and floats for linear."""
        return "exr" if self.linear else "tif"


def read_color(host: ResolveHost, project: Any) -> ProjectColor:
    def setting(name: str) -> str:
        return str(host.calls.get(project, "GetSetting", name, default="") or "")

    gamma = ""
    if setting("separateColorSpaceAndGamma") == "1":
        gamma = setting("colorSpaceOutputGamma")
    return ProjectColor(setting("colorScienceMode"), setting("colorSpaceOutput"), gamma)
