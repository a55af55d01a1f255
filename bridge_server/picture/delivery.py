"""From an effect's parameters to the picture pipeline's settings; one place for both sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge_server.media.frame import PlateInfo
from bridge_server.picture.join import JoinSettings
from bridge_server.picture.spaces import Spaces, open_spaces


def spaces_of(info: PlateInfo, parameters: Mapping[str, Any], *, config: str = "") -> Spaces:
    """The color spaces that the parameters name. Raises BridgeError `bad_param`."""
    return open_spaces(
        info,
        input=str(parameters["input_space"]),
        output=str(parameters["output_space"]),
        view=str(parameters["view"]),
        config=config,
    )


def join_settings(
    spaces: Spaces, parameters: Mapping[str, Any], *, chroma_layer: bool = False
) -> JoinSettings:
    """How chroma is joined; saturation is 1 here, since the server has already applied it."""
    gamut: Any = parameters["gamut"]
    return JoinSettings(
        spaces,
        gamut=gamut,
        chroma_only=bool(parameters["chroma_only"]),
        neutralize=bool(parameters["neutralize"]),
        chroma_layer=chroma_layer,
    )
