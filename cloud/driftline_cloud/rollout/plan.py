"""How a version reaches a line's devices: settings, and the plan that one rollout keeps to its end.

shares   0.05        0.25        1
         canary  ->  phase 2  ->  all     each at least `least_s`, and `least_reports`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from pydantic import field_validator

from driftline_shared.program.section import Section, setting

MOST_PHASES = 20


class RolloutSettings(Section):
    """How a new version reaches the devices of a line. Times in seconds."""

    least_devices: int = setting(
        20, "a line of fewer devices gets a version all at once, without phases", ge=1
    )
    shares: tuple[float, ...] = setting(
        (0.05, 0.25, 1.0), "of a line's devices, phase by phase; 1 is the last"
    )
    least_s: float = setting(3_600.0, "a phase lasts at least so long", ge=0)
    least_reports: int = setting(
        10, "devices that must have reported in a phase (two thirds of fewer)", ge=1
    )
    tolerated_share: float = setting(
        0.02, "of the devices that report may fail or roll back a version that is good", gt=0, lt=1
    )
    error_rate: float = setting(
        0.05, "how often a version that is good may be stopped all the same", gt=0, lt=1
    )
    canaries: tuple[str, ...] = setting((), "ids of devices that are the first of each first phase")
    approval: bool = setting(
        False, "no device gets a version before `driftline cloud release approve`"
    )
    hold_rounds_s: float = setting(
        604_800.0, "no round starts while a version is on its way; most of that", ge=0
    )

    @field_validator("shares")
    @classmethod
    def _rising_to_all(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        rising = all(a < b for a, b in pairwise(shares))
        if not 1 <= len(shares) <= MOST_PHASES or not rising or shares[0] <= 0 or shares[-1] != 1.0:
            raise ValueError(
                f"1 to {MOST_PHASES} rising shares are needed, above 0, the last one 1"
            )
        return shares


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """`share` of the devices of a line, 0..1, for at least `least_s`, until `least_reports`."""

    share: float
    least_s: float
    least_reports: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The phases of one rollout, and what its rule tolerates."""

    phases: tuple[Phase, ...]
    tolerated_share: float
    error_rate: float
    canaries: tuple[str, ...] = ()

    def to_mapping(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Plan:
        """From what `to_mapping` gave."""
        return cls(
            phases=tuple(Phase(**each) for each in values["phases"]),
            tolerated_share=float(values["tolerated_share"]),
            error_rate=float(values["error_rate"]),
            canaries=tuple(values.get("canaries", ())),
        )


def plan_for(settings: RolloutSettings, num_devices: int) -> Plan:
    """The plan for a line of `num_devices`; without phases where they are few."""
    shares = settings.shares if num_devices >= settings.least_devices else (1.0,)
    alone = len(shares) == 1
    return Plan(
        phases=tuple(
            Phase(
                share=share,
                least_s=0.0 if alone else settings.least_s,
                least_reports=0 if alone else settings.least_reports,
            )
            for share in shares
        ),
        tolerated_share=settings.tolerated_share,
        error_rate=settings.error_rate,
        canaries=settings.canaries,
    )
