"""What is kept of an exemplar: everything that depends on it alone, computed once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.deep_exemplar.geometry import CELL, Geometry
from models.deep_exemplar.networks import Stages
from models.propagator import Exemplar

_LEAST_REAL = 0.5  # share of a cell that must be real for the cell to be matched


@dataclass(frozen=True)
class EncodedExemplar:
    """An exemplar as matching sees it.

    vectors: (256, m) unit vectors of its m positions that may be matched. colors: (m, 2), their a
    and b. lab: (1, 3, h, w), L - 50, a, b at network size. index, digest: see Exemplar.
    """

    vectors: Tensor
    colors: Tensor
    lab: Tensor
    index: int | None
    digest: str

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return self.vectors.nbytes + self.colors.nbytes + self.lab.nbytes


def encode(exemplar: Exemplar, geometry: Geometry, stages: Stages) -> EncodedExemplar:
    """Run the exemplar's side of the networks.

    Cells of which more than half is an invented border (valid = 0, or padding) are not matched,
    unless the picture is too small for better ones; the others take the mean color of their real
    pixels alone. Raises ValueError when no pixel is real.
    """
    lab = torch.cat((exemplar.luma - 50, exemplar.chroma), 1).float()
    small = geometry.to_network(lab)
    valid = geometry.validity(exemplar.valid, like=exemplar.luma)
    if valid is None:
        colors = F.avg_pool2d(small[:, 1:], CELL).flatten(2)[0].T.contiguous()
        return EncodedExemplar(
            stages.exemplar_vectors(small, None), colors, small, exemplar.index, exemplar.digest
        )
    side = CELL * geometry.factor
    share = F.avg_pool2d(valid, side)
    if not (share > 0).any():
        raise ValueError("expected an exemplar with real pixels, got one that is all border")
    keep = share.flatten() >= share.max().clamp(max=_LEAST_REAL)
    real = F.avg_pool2d(geometry.padded(exemplar.chroma.float()) * valid, side) / share
    colors = real.flatten(2)[0].T[keep].contiguous()
    vectors = stages.exemplar_vectors(small, keep)[:, keep].contiguous()
    return EncodedExemplar(vectors, colors, small, exemplar.index, exemplar.digest)
