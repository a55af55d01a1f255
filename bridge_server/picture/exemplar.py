"""Exemplars: color pictures from files or arrays, fitted to the working size."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bridge_server.media.frame import Floats, PlateInfo, RgbCoding, RgbPicture
from bridge_server.media.images import read_image
from bridge_server.picture.spaces import DISPLAY, open_spaces
from host_plugins.wire.errors import BridgeError
from models.color import linear_to_srgb, rgb_to_lab
from models.geometry import fit


@dataclass(frozen=True)
class ExemplarPicture:
    """rgb: (H, W, 3) float32, sRGB-encoded. matte: (H, W) float32 alpha in 0..1, or None.

    digest: SHA-256 of the decoded picture (hex); the same picture in another file has the same.
    space: the name of the color space the file was read in.
    """

    rgb: Floats
    matte: Floats | None
    digest: str
    space: str


def load_exemplar(path: str | Path, *, space: str = "", config: str = "") -> ExemplarPicture:
    """Read a color picture (PNG, JPEG, TIFF, EXR, DPX, ...).

    space: its color space; "" takes what the file declares, else linear Rec.709 for floating point
    and display-encoded for integers. Raises BridgeError clip_unreadable, bad_exemplar, bad_param.
    """
    path = Path(path)
    if not path.is_file():
        raise BridgeError("clip_unreadable", f"There is no exemplar {path}.")
    image = read_image(path)
    declared = image.header.spec.getattribute("oiio:ColorSpace") or ""
    info = PlateInfo(
        str(path), "image", *image.picture.size, [0], image.picture.coding, space=declared
    )
    chosen = open_spaces(info, input=space, config=config).input
    return exemplar_of(image.picture, chosen.name, config=config, name=str(path))


def exemplar_of(
    picture: RgbPicture, space: str = DISPLAY, *, config: str = "", name: str = "exemplar"
) -> ExemplarPicture:
    """An exemplar of pixels already decoded. Raises BridgeError bad_exemplar when it is gray."""
    if picture.gray:
        raise BridgeError("bad_exemplar", f"{name} has one channel; expected red, green and blue.")
    values = picture.pixels[..., list(picture.color)].astype(np.float32)
    values = np.nan_to_num(values / np.float32(picture.coding.peak), posinf=1.0)
    info = PlateInfo(name, "image", *picture.size, [0], RgbCoding(32, floating=True))
    source = open_spaces(info, input=space, config=config).input
    if source.name != DISPLAY:
        linear = torch.from_numpy(source.to_linear(values))
        values = linear_to_srgb(linear).numpy()
    alpha = next((i for i, n in enumerate(picture.names) if n.lower() in ("a", "alpha")), None)
    matte = None
    if alpha is not None:
        matte = picture.pixels[..., alpha].astype(np.float32) / np.float32(picture.coding.peak)
        matte = None if bool((matte >= 1.0).all()) else matte
    values = np.ascontiguousarray(values)
    digest = hashlib.sha256(f"{values.shape}".encode())
    digest.update(values.tobytes())
    if matte is not None:
        digest.update(matte.tobytes())
    return ExemplarPicture(values, matte, digest.hexdigest(), source.name)


def fit_exemplar(
    rgb: Tensor, height: int, width: int, *, matte: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Fit an exemplar to the working size of a plate: scaled as a whole, border mirrored.

    rgb: (H, W, 3), sRGB-encoded. matte: (H, W); where it is below one half the exemplar says
    nothing. Returns luma (1, 1, height, width), CIE L; chroma (1, 2, height, width), CIE a and b;
    valid (1, 1, height, width), 1 where the picture is real.
    """
    planes = rgb.float().clamp(0.0, 1.0).permute(2, 0, 1)[None]
    fitted, valid = fit(planes, height, width)
    if matte is not None:
        fitted_matte, _ = fit(matte.float()[None, None], height, width)
        valid = valid * (fitted_matte >= 0.5)
    lab = rgb_to_lab(fitted)
    return lab[:, :1].contiguous(), lab[:, 1:].contiguous(), valid
