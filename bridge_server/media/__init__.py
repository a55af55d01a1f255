"""Movies and image sequences in and out, planar and at full bit depth."""

from bridge_server.media.deliver import CODECS, Deliver
from bridge_server.media.frame import PlateFrame, PlateInfo
from bridge_server.media.output import Output, open_output
from bridge_server.media.plate import Plate, open_plate

__all__ = ["CODECS", "Deliver", "Output", "Plate", "PlateFrame", "PlateInfo", "open_output",
           "open_plate"]  # fmt: skip
