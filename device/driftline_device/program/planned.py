"""What a budget comes to, for a configuration that is only printed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from driftline_device.config import DeviceConfig
from driftline_device.sampling.budget_facts import pair_facts
from driftline_device.sampling.budget_plan import make_plan
from driftline_shared.errors import DriftlineError
from driftline_shared.pair.pair import load_pair


def planned(config: DeviceConfig) -> dict[str, Any]:
    """`budget_plan`, in JSON's terms; nothing without a budget."""
    budget = config.byte_budget
    if budget is None:
        return {}
    try:
        facts = pair_facts(load_pair(config.pair))
    except DriftlineError as error:
        return {"budget_plan": {"error": str(error)}}
    hand = config.sampling_by_hand
    return {"budget_plan": asdict(make_plan(budget, facts, config.sampling, by_hand=hand))}
