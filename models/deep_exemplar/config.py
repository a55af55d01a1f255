"""Settings of one shot: frozen and plain, what an effect's parameters turn into."""

from __future__ import annotations

from dataclasses import dataclass

OFFICIAL_LOOK_SATURATION = 1.25  # what the official driver multiplies a and b by, at any size


@dataclass(frozen=True, kw_only=True)
class DeepExemplarSettings:
    """How colors are carried along a shot. The defaults are the official ones but for the smoother.

    propagate: each frame sees the one before it; otherwise every frame stands alone.
    first_frame_is_exemplar: the shot's first frame is the exemplar's own picture, so that the first
        frame sees the exemplar's colors as its previous frame, instead of mid gray.
    use_half_resolution: the networks run at half of the working size.
    smooth: the official fast global smoother on the chroma, guided by luma at working size.
    temperature: 0 takes the best match; above 0, colors are averaged with softmax(score / it).
    pin_preference: cosine that a pinned exemplar gains at its own frame; falls to 0 at pin_reach.
    pin_reach: distance in frames at which a pin counts no more.
    match_workspace_bytes: bound on what matching allocates beside its result.
    """

    propagate: bool = True
    first_frame_is_exemplar: bool = False
    use_half_resolution: bool = True
    smooth: bool = False
    temperature: float = 0.0
    pin_preference: float = 0.1
    pin_reach: int = 48
    match_workspace_bytes: int = 256 * 2**20

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature <= 1.0:
            raise ValueError(f"expected a temperature in 0..1, got {self.temperature}")
        if self.pin_preference < 0.0:
            raise ValueError(f"expected pin_preference >= 0, got {self.pin_preference}")
        if self.pin_reach < 1:
            raise ValueError(f"expected pin_reach >= 1 frame, got {self.pin_reach}")
        if self.match_workspace_bytes < 2**20:
            raise ValueError(
                f"expected match_workspace_bytes >= 1 MiB, got {self.match_workspace_bytes}"
            )


def why_not_sage() -> tuple[str, ...]:
    """The reasons why SageAttention cannot serve this effect, whatever the machine."""
    return (
        "Deep Exemplar has no attention layer that SageAttention could take: no network holds the "
        "Self_Attn class that the switch patches elsewhere, and the matching needs exact float32 "
        "scores over 256 channels (SageAttention: at most 128, rounded)",
    )
