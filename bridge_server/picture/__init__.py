"""The picture pipeline: plate to luma, chroma to full size, luma joined untouched."""

from bridge_server.picture.exemplar import ExemplarPicture, fit_exemplar, load_exemplar
from bridge_server.picture.join import JoinSettings, join
from bridge_server.picture.luma import luma_for_network, working_luma
from bridge_server.picture.rejoin import color_of, rejoin
from bridge_server.picture.spaces import Spaces, open_spaces
from bridge_server.picture.upscale import upscale_chroma
from models.geometry import working_size

__all__ = [
    "ExemplarPicture",
    "JoinSettings",
    "Spaces",
    "color_of",
    "fit_exemplar",
    "join",
    "load_exemplar",
    "luma_for_network",
    "open_spaces",
    "rejoin",
    "upscale_chroma",
    "working_luma",
    "working_size",
]
