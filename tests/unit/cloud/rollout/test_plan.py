"""Few devices get a version at once, many by phases; a plan survives as JSON."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from driftline_cloud.rollout.plan import Plan, RolloutSettings, plan_for


def test_a_laptop_waits_for_nothing_and_a_fleet_goes_by_phases() -> None:
    settings = RolloutSettings()
    (only,) = plan_for(settings, settings.least_devices - 1).phases
    assert (only.share, only.least_s, only.least_reports) == (1.0, 0.0, 0)
    shares = [phase.share for phase in plan_for(settings, settings.least_devices).phases]
    assert shares == [0.05, 0.25, 1.0]


def test_a_plan_is_kept_as_json() -> None:
    plan = plan_for(RolloutSettings(canaries=("bench-1",)), 100)
    assert Plan.from_mapping(json.loads(json.dumps(plan.to_mapping()))) == plan


@pytest.mark.parametrize("shares", [(), (0.5,), (0.5, 0.2, 1.0), (0.0, 1.0), (0.5, 1.2)])
def test_shares_that_do_not_rise_to_all_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError, match="rising shares"):
        RolloutSettings(shares=shares)
