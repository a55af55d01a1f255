"""This worker's device and its plans: probed once, chosen once for each effect and wish."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from accel import heap
from accel.choice import RequirementUnmet
from accel.device import Facts, probe
from accel.plan import Plan, Switches, make_plan
from accel.streams import Lanes
from bridge_server.effects import registry
from bridge_server.effects.descriptor import Value
from bridge_server.effects.effect import Effect
from bridge_server.effects.performance import required, switches_of
from host_plugins.wire.errors import BridgeError

log = logging.getLogger(__name__)


class Planner:
    """Plans for one device; facts are looked up when first needed."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._facts: Facts | None = None
        self._lanes: Lanes | None = None

    @property
    def lanes(self) -> Lanes:
        """How frames get to the device and back, for all sessions."""
        if self._lanes is None:
            self._lanes = Lanes(self.facts)
            log.info("%s", self._lanes)
        return self._lanes

    @property
    def facts(self) -> Facts:
        """Raises BridgeError `bad_param` when the device that was asked for is not there."""
        if self._facts is None:
            try:
                self._facts = probe(self._device)
            except ValueError as error:
                raise BridgeError("bad_param", str(error)) from None
            heap.apply(self._facts)
        return self._facts

    @property
    def known(self) -> Facts | None:
        """The facts, once something needed them; never looks them up. For any thread."""
        return self._facts

    def choices(self) -> dict[str, list[str]]:
        """For each effect, what its default parameters come to here, and why: a line a role."""
        out: dict[str, list[str]] = {}
        for name in registry.offered():
            effect = registry.find(name)
            try:
                plan = self.plan(effect, effect.describe_in_context("filter").effective({}))
            except BridgeError as error:
                out[name] = [str(error)]
                continue
            out[name] = list(plan.lines()) if plan is not None else []
        return out

    def plan(self, effect: Effect, values: Mapping[str, Value]) -> Plan | None:
        """The plan for these parameters; None for an effect without a network.

        Raises BridgeError `accelerator_required` with every reason, or `bad_param`.
        """
        if effect.hidden:
            return None
        switches: dict[str, object] = dict(switches_of(values))
        try:
            return make_plan(
                self.facts,
                effect.id,
                Switches(**switches),  # type: ignore[arg-type]
                require=required(values),
            )
        except RequirementUnmet as error:
            raise BridgeError("accelerator_required", str(error)) from None
        except ValueError as error:
            raise BridgeError("bad_param", str(error)) from None
