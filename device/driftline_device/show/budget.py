"""The owner's budget in words: what it was planned to be, what is spent, how long it lasts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

_NAMES = {
    "token_codec": "codec",
    "token_share": "tokens",
    "max_sample_share": "samples",
    "gate_quantile": "gate",
}


def describe_plan(budget: dict[str, Any]) -> list[str]:
    """A line for the status; none without a budget."""
    if not budget:
        return []
    plan = budget["plan"]
    names = ", ".join(_NAMES[each] for each in plan["narrowed"] if each in _NAMES)
    return [
        f"budget    {budget['budget']}: {budget['spent']:,} bytes spent, {budget['left']:,} left"
        f" for samples; {plan['token_codec']}, {100 * plan['token_share']:.0f} % of the tokens,"
        f" {100 * plan['max_sample_share']:.2g} % of the answers"
        + (f" (narrowed: {names})" if names else "")
    ]


def describe_budget(budget: dict[str, Any], *, now_s: float) -> list[str]:
    """Lines for `driftline device bytes`; none without a budget."""
    if not budget:
        return []
    plan = budget["plan"]
    until = lasts_until(budget, now_s=now_s)
    lasts = (
        "at this rate it does not run out"
        if until is None
        else f"at this rate it is spent at {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M} UTC"
    )
    return [
        f"budget    {budget['budget']}: {budget['spent']:,} of {budget['num_bytes']:,} bytes spent;"
        f" {lasts}",
        f"planned   {plan['day_bytes']:,} a day for samples ({plan['samples_a_day']:,.0f} of"
        f" {plan['sample_bytes']:,.0f} bytes), {plan['update_bytes']:,} for updates,"
        f" {plan['asking_bytes']:,} for asking, every {plan['poll_s']:,.0f} s",
    ]


def lasts_until(budget: dict[str, Any], *, now_s: float) -> float | None:
    """When the budget is spent if bytes go on as in its period up to now (Unix seconds); None
    where they never pass it.
    """
    spent, period_s = float(budget["spent"]), float(budget["period_s"])
    num_bytes = float(budget["num_bytes"])
    if spent >= num_bytes:
        return now_s
    # The first minutes say little about a whole period.
    rate = spent / min(max(float(budget["counted_s"]), period_s / 24), period_s)
    if not spent or rate * period_s <= num_bytes:
        return None
    return now_s + (num_bytes - spent) / rate
