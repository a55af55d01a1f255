"""Parameters that every effect has: the working size, the chroma, the color spaces."""

from __future__ import annotations

from bridge_server.effects.descriptor import Group, Param

MAIN = Group("main", "Color")
SIZE = Group("size", "Size and quality")
ADVANCED = Group("advanced", "Advanced", open=False)
DELIVERY = Group("delivery", "Delivery", open=False)
GROUPS = (MAIN, SIZE, DELIVERY, ADVANCED)

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

GAMUT = Param(
    "gamut",
    "choice",
    "Gamut",
    "What happens to colors that the delivery cannot hold: reduce their chroma until they fit, "
    "cut them (luma changes there), or leave them.",
    "preserve_luma",
    choices=("preserve_luma", "clip", "none"),
    labels=("Preserve luma", "Clip", "None"),
    group="delivery",
    invalidates="none",
)
CHROMA_ONLY = Param(
    "chroma_only",
    "bool",
    "Chroma only",
    "Deliver the color without the picture, to be graded and added to the plate.",
    False,
    group="delivery",
    invalidates="none",
)
NEUTRALIZE = Param(
    "neutralize",
    "bool",
    "Neutralize plate",
    "Drop the tint that the plate has. Off adds the new color to the plate's own.",
    True,
    group="delivery",
    invalidates="none",
)
INPUT_SPACE = Param(
    "input_space",
    "string",
    "Plate color space",
    "OCIO name of the plate's space; empty takes what the file declares, else display-encoded "
    "for integers and linear Rec.709 for floats.",
    "",
    group="delivery",
)
OUTPUT_SPACE = Param(
    "output_space",
    "string",
    "Delivery color space",
    "OCIO name of the result's space; empty is the plate's own, which keeps luma exact.",
    "",
    group="delivery",
    invalidates="none",
)
VIEW = Param(
    "view",
    "string",
    "View for the network",
    "OCIO view through which the network looks at the plate; empty is colorimetric.",
    "",
    group="delivery",
)
DELIVERY_PARAMS = (GAMUT, CHROMA_ONLY, NEUTRALIZE, INPUT_SPACE, OUTPUT_SPACE, VIEW)


def common(default_working_size: int) -> tuple[Param, ...]:
    """The parameters of every effect, with this effect's own default working size."""
    return (SATURATION, working_size(default_working_size), EDGE_STRENGTH, *DELIVERY_PARAMS)
