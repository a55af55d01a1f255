"""What the project's color management says of rendered pixels, and of results that come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from host_plugins.resolve_host.host import ResolveHost
from host_plugins.resolve_host.properties import setting

#: Resolve's output color spaces -> names of the server's OCIO config
_NAMES = {"ACEScct": "ACEScct", "ACEScg": "ACEScg", "ACEScc": "ACEScc"}


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
        """16-bit TIFF for encoded renders, half-float EXR for linear ones."""
        return "exr" if self.linear else "tif"

    def server_space(self, suffix: str) -> str:
        """The effect parameter `input_space` for plates rendered into such files.

        "" leaves it to the server, which takes integers for display-encoded and floats for linear
        Rec.709. Spaces not in the table are taken for display-encoded too: judge their colors.
        """
        if self.space in _NAMES:
            return _NAMES[self.space]
        if self.linear:
            return ""
        return "display" if suffix == ".exr" else ""


def read_color(host: ResolveHost, project: Any) -> ProjectColor:
    def told(name: str) -> str:
        return setting(host.calls, project, name)

    gamma = ""
    if told("separateColorSpaceAndGamma") == "1":
        gamma = told("colorSpaceOutputGamma")
    return ProjectColor(told("colorScienceMode"), told("colorSpaceOutput"), gamma)
