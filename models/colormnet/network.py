"""ColorMNet's parts as one network under the published names; stateless, shared by all shots."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accel.attention import Attention, plain
from accel.correlation import Correlation, torch_correlation
from models.weights import load_strict

from .config import EXACT, NetworkConfig, Precision
from .decoder import Decoder
from .key_encoder import Features, Key, KeyEncoder, KeyProjection
from .local_attention import LocalAttention
from .lowering import lower
from .value_encoder import ValueEncoder


class ColorMNet(nn.Module):
    """The network of the official checkpoint: 123.6 million parameters at default widths.

    attention and correlation are callables of accel; the defaults are the references.
    """

    def __init__(
        self,
        config: NetworkConfig | None = None,
        *,
        attention: Attention = plain,
        correlation: Correlation = torch_correlation,
    ) -> None:
        super().__init__()
        self.config = config or NetworkConfig()
        self.precision = EXACT
        self.key_encoder = KeyEncoder(self.config, attention)
        self.value_encoder = ValueEncoder(self.config)
        self.key_proj = KeyProjection(self.config)
        self.short_term_attn = LocalAttention(self.config, correlation)
        self.decoder = Decoder(self.config)
        self.eval().requires_grad_(False)
        self.to(memory_format=torch.channels_last)

    def encode(self, luma: Tensor) -> tuple[Features, Key]:
        """luma: (B, 1, H, W) float32, (L - 50) / 50, sides multiples of 112."""
        features = self.key_encoder(luma)
        return features, self.key_proj(features.f16)

    def encode_value(self, luma: Tensor, planes: Tensor, f16: Tensor) -> Tensor:
        """luma: (1, 1, H, W). planes: (1, 2, H, W), ab / 110. Returns (2, 512, h, w)."""
        value: Tensor = self.value_encoder(luma, planes, f16)
        return value


def build(
    tensors: Mapping[str, Tensor],
    *,
    source: str,
    device: torch.device | str = "cpu",
    precision: Precision = EXACT,
    attention: Attention = plain,
    correlation: Correlation = torch_correlation,
) -> ColorMNet:
    """A network with a checkpoint's tensors, strictly loaded; nothing is initialized or fetched.

    source names the file in messages. A checkpoint whose value encoder has no channel for the other
    plane gets zeros there, as the authors do. Raises WeightsMismatch or ValueError.
    """
    config = NetworkConfig.from_tensors(tensors)
    tensors = dict(tensors)
    first = tensors.get("value_encoder.conv1.weight")
    if first is not None and first.ndim == 4 and first.shape[1] == 4:
        tensors["value_encoder.conv1.weight"] = F.pad(first, (0, 0, 0, 0, 0, 1))
    with torch.device("meta"):
        network = ColorMNet(config, attention=attention, correlation=correlation)
    network.to_empty(device=device)
    load_strict(network, tensors, source=source)
    lower(network, precision)
    network.precision = precision
    return network
