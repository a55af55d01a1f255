"""Parameters that every effect has: the working size and what becomes of the chroma."""

from __future__ import annotations

from bridge_server.effects.descriptor import Group, Param

MAIN = Group("main", "Color")
SIZE = Group("size", "Size and quality")
ADVANCED = Group("advanced", "Advanced", open=False)
GROUPS = (MAIN, SIZE, ADVANCED)

SATURATION = Param(
    "saturation",
    "double",
    "Saturation",
    "Multiplies the chroma. 1 leaves the network's colors as they are.",
    1.0,
    low=0.0,
    high=3.0,
    display=(0.0, 2.0),
)


def working_size(default: int) -> Param:
    """The long side that the network sees; the default is each effect's own."""
    return Param(
        "working_size",
        "int",
        "Working size",
        "Long side in pixels of the picture that the network sees. Only chroma is made at this "
        "size; luma always stays at full size. Larger finds small things, and takes longer.",
        default,
        low=64,
        high=4096,
        display=(256, 1920),
        group="size",
    )


EDGE_STRENGTH = Param(
    "edge_strength",
    "double",
    "Edge strength",
    "How closely chroma follows the edges of the full-size luma when it is enlarged; "
    "0 enlarges it plainly.",
    1.0,
    low=0.0,
    high=1.0,
    display=(0.0, 1.0),
    group="size",
)
