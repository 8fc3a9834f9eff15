"""What is done to whom, when: the schedule of a run, a pure function of its seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from driftline_lab.chaos.disk.control import Death
from driftline_lab.chaos.proxy import Weather

CLOUD = "cloud"
GAP_S, LEAST_GAP_S = 4.0, 0.5
"""Mean and least time between the beginnings of two faults."""

_YEAR_S = 365 * 86_400.0
_JUMPS_S = (-10 * _YEAR_S, -_YEAR_S, -3_600.0, 3_600.0, 40 * 86_400.0, _YEAR_S, 10 * _YEAR_S)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One entry: `kind` is done to `target` at `at_s` after the start and undone after `for_s`."""

    at_s: float
    kind: str
    target: str
    for_s: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """As it is logged."""
        return asdict(self)


_DEVICE_KINDS = {
    "kill": 3,
    "kill at a write": 4,
    "power cut": 4,
    "disk full": 3,
    "disk read-only": 2,
    "clock jumps": 2,
    "link": 8,
    "certificate ends": 1,
    "revoked": 1,
}
_CLOUD_KINDS = {
    "kill serve": 3,
    "kill work": 3,
    "kill at a write": 4,
    "power cut": 3,
    "disk full": 2,
    "disk read-only": 1,
    "clock jumps": 1,
    "database locked": 2,
    "poisoned samples": 2,
    "harmful update": 2,
    "stopped": 1,
}
KINDS = {"device": tuple(_DEVICE_KINDS), CLOUD: tuple(_CLOUD_KINDS)}

NEEDS_SHIM = frozenset({"kill at a write", "power cut", "disk full", "disk read-only"})
"""Kinds that are left out where `shim.c` cannot be built."""

_LASTING = frozenset(
    {
        "disk full", "disk read-only", "clock jumps", "link", "certificate ends", "revoked",
        "database locked", "stopped",
    }
)  # fmt: skip
_DEATHS = (Death.BEFORE, Death.TORN, Death.AFTER)
_CUTS = (Death.POWER_CUT, Death.POWER_CUT_OF_DATA, Death.POWER_CUT_OF_SOME)
_MOST_WRITES = 60


def schedule(seed: int, *, seconds: float, devices: int, shim: bool = True) -> list[Fault]:
    """Faults in order of time. Every kind comes once before chance alone chooses."""
    dice = random.Random(seed)
    names = [f"device-{number}" for number in range(devices)]
    first = [("device", kind) for kind in _DEVICE_KINDS] + [(CLOUD, kind) for kind in _CLOUD_KINDS]
    dice.shuffle(first)
    found: list[Fault] = []
    at_s = LEAST_GAP_S
    while at_s < seconds:
        whose, kind = first.pop() if first else _drawn(dice)
        target = CLOUD if whose == CLOUD else dice.choice(names)
        fault = Fault(
            at_s=round(at_s, 3),
            kind=kind,
            target=target,
            for_s=round(dice.uniform(1.0, 8.0), 3) if kind in _LASTING else 0.0,
            details=_details(kind, dice),
        )
        if shim or kind not in NEEDS_SHIM:
            found.append(fault)
        at_s += max(LEAST_GAP_S, dice.expovariate(1.0 / GAP_S))
    return found


def _drawn(dice: random.Random) -> tuple[str, str]:
    whose = dice.choices(("device", CLOUD), weights=(3, 2))[0]
    kinds = _DEVICE_KINDS if whose == "device" else _CLOUD_KINDS
    return whose, dice.choices(list(kinds), weights=list(kinds.values()))[0]


def _details(kind: str, dice: random.Random) -> dict[str, Any]:
    if kind == "kill at a write":
        how = dice.choice(_DEATHS)
        return {"write": dice.randint(1, _MOST_WRITES), "how": how.name.lower()}
    if kind == "power cut":
        how = dice.choice(_CUTS)
        write, seed = dice.randint(1, _MOST_WRITES), dice.randrange(1 << 30)
        return {"write": write, "how": how.name.lower(), "seed": seed}
    if kind == "clock jumps":
        return {"by_s": dice.choice(_JUMPS_S)}
    if kind == "link":
        return {"weather": str(dice.choice([one for one in Weather if one is not Weather.FAIR]))}
    if kind == "poisoned samples":
        return {"seed": dice.randrange(1 << 30)}
    return {}
