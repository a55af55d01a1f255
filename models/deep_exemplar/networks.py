"""The three networks, loaded strictly from their official files, and the stages a shot runs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from models.deep_exemplar.color_network import ColorVidNet
from models.deep_exemplar.matching import Matcher, nearest, shortlisted
from models.deep_exemplar.rearranged import with_folded_upsampling, with_winograd
from models.deep_exemplar.vgg import Vgg19, color_input, gray_input
from models.deep_exemplar.warp import WarpNet
from models.weights import load_strict, read_tensors

N = TypeVar("N", bound=nn.Module)
B = TypeVar("B", Vgg19, ColorVidNet)
Precision = Literal["exact", "balanced", "fast"]
Rearranged = Literal["none", "folded", "all"]  # folded upsampling; and Winograd's as well


@dataclass(frozen=True)
class Networks:
    """Shared by all shots; nothing in here changes after loading."""

    vgg: Vgg19
    warp: WarpNet
    color: ColorVidNet


@dataclass(frozen=True)
class Stages:
    """What a propagator calls: the networks as one plan wants them run. Shared by all shots.

    frame_vectors: (1, 1, h, w) L - 50 -> (n, 256) unit vectors, float32.
    exemplar_vectors: (1, 3, h, w) L - 50, a, b, and which positions to keep or None
        -> (256, n) unit vectors, float32.
    chroma: the seven channels (1, 7, h, w), float32 -> (1, 2, h, w) ab, float32.
    matcher: finds each frame position's nearest exemplar position.
    """

    frame_vectors: Callable[[Tensor], Tensor]
    exemplar_vectors: Callable[[Tensor, Tensor | None], Tensor]
    chroma: Callable[[Tensor], Tensor]
    matcher: Matcher


def load_networks(
    vgg19_conv: Path, nonlocal_net: Path, colornet: Path, *, device: torch.device | str = "cpu"
) -> Networks:
    """Load the three official files, every key and shape fitting.

    Raises OSError when a file cannot be read, WeightsMismatch when it does not fit.
    """
    networks = Networks(Vgg19(), WarpNet(), ColorVidNet())
    files = ((networks.vgg, vgg19_conv), (networks.warp, nonlocal_net), (networks.color, colornet))
    for network, path in files:
        load_strict(network, read_tensors(path), source=path.name)
        network.eval().requires_grad_(False).to(device)
    return networks


def stages(
    networks: Networks,
    *,
    precision: Precision = "exact",
    rearranged: Rearranged | None = None,
    compiler: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
    matcher: Matcher | None = None,
) -> Stages:
    """How to run the networks; the networks themselves are not touched.

    precision: "exact" runs all in float32. "balanced" runs ColorVidNet in bfloat16, channels last,
        and features in float32. "fast" runs all networks in bfloat16; scores are still float32, but
        of rounded features, and some matches flip.
    rearranged: convolutions with the same algebra and fewer multiplications, see rearranged.py.
        None means "none" for "exact", whose results equal the plain reading bit for bit, and "all"
        otherwise.
    compiler: accel.compiling.Compiler, torch.compile or a stand-in; None runs eagerly.
    matcher: None means nearest for "exact", shortlisted otherwise.
    """
    if rearranged is None:
        rearranged = "none" if precision == "exact" else "all"
    feature_dtype = torch.bfloat16 if precision == "fast" else torch.float32
    color_dtype = torch.float32 if precision == "exact" else torch.bfloat16
    vgg, warp, color = networks.vgg, networks.warp, networks.color
    if rearranged != "none":
        color = with_folded_upsampling(color)
    if rearranged == "all":
        vgg, warp, color = (
            _less_work(vgg, feature_dtype),
            _less_work(warp, feature_dtype),
            _less_work(color, color_dtype),
        )
    else:
        vgg, color = _in_blocks(vgg), _in_blocks(color)
    vgg, warp = _in_dtype(vgg, feature_dtype), _in_dtype(warp, feature_dtype)
    color = _in_dtype(color, color_dtype)
    wrap = compiler if compiler is not None else _as_it_is
    features, vectors, chroma = wrap(vgg.forward), wrap(warp.of_frame), wrap(color.forward)

    def frame_vectors(luma: Tensor) -> Tensor:
        unit: Tensor = vectors(features(_laid_out(gray_input(luma), feature_dtype)))
        return unit

    def exemplar_vectors(lab: Tensor, keep: Tensor | None) -> Tensor:
        return warp.of_exemplar(vgg(_laid_out(color_input(lab), feature_dtype)), keep)

    def frame_chroma(channels: Tensor) -> Tensor:
        ab: Tensor = chroma(_laid_out(channels, color_dtype))
        return ab

    if matcher is None:
        matcher = nearest if precision == "exact" else shortlisted
    return Stages(frame_vectors, exemplar_vectors, frame_chroma, matcher)


def _less_work(network: N, dtype: torch.dtype) -> N:
    """Winograd's transforms need float32, and on CUDA the library knows them itself."""
    if dtype != torch.float32 or next(network.parameters()).is_cuda:
        return network
    return with_winograd(network)


def _in_blocks(network: B) -> B:
    """The same network, whose float32 pictures stay in oneDNN's layout where that pays."""
    made = copy.copy(network)  # with the very same tensors
    made.blocked = True
    return made


def _in_dtype(network: N, dtype: torch.dtype) -> N:
    """The network itself in float32, else a copy in dtype, channels last."""
    if dtype == torch.float32:
        return network
    return copy.deepcopy(network).to(dtype).to(memory_format=torch.channels_last)


def _laid_out(picture: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype == torch.float32:
        return picture
    return picture.to(dtype=dtype, memory_format=torch.channels_last)


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function
