"""The small network that ships with its weights: color on any machine, from the first minute."""

from models.starter.config import StarterConfig
from models.starter.flow import why_no_flow
from models.starter.loading import load_starter
from models.starter.network import Starter
from models.starter.propagator import StarterPropagator, StarterSettings

__all__ = [
    "Starter",
    "StarterConfig",
    "StarterPropagator",
    "StarterSettings",
    "load_starter",
    "why_no_flow",
]
