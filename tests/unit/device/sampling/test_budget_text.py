"""What an owner may write as a budget, and what they are told where it is none."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_device.config import load_config
from driftline_device.sampling.budget_text import MAX_BYTES, MIN_BYTES, ByteBudget, parse_budget
from driftline_shared.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "num_bytes", "period_s"),
    [
        ("2 MB/day", 2_000_000, 86_400),
        ("50 KB/hour", 50_000, 3_600),
        ("1.5MiB / week", 1_572_864, 604_800),
        (" 2mb per day ", 2_000_000, 86_400),
        ("1000 B/month", 1_000, 2_592_000),
        ("0.1 GB a day", 100_000_000, 86_400),
    ],
)
def test_amount_and_period(text: str, num_bytes: int, period_s: float) -> None:
    assert parse_budget(text) == ByteBudget(num_bytes=num_bytes, period_s=period_s)


def test_none_is_no_limit() -> None:
    assert parse_budget("none") is None and parse_budget(" None ") is None


@pytest.mark.parametrize(
    "text",
    [
        "2 MB", "", "MB/day", "0 MB/day", "0.9 KB/day", "-2 MB/day", "1e400 MB/day", "inf MB/day",
        "nan MB/day", "2 XB/day", "2 MB/year", "2 MB/day/day", "9" * 400 + " MB/day", "1001 GB/day",
        "2 MB/day\n3 MB/day", "²MB/day", "٢ MB/day",
    ],
)  # fmt: skip
def test_nonsense_is_told_what_is_right(text: str) -> None:
    with pytest.raises(ValueError, match=r"day|none|cloud"):
        parse_budget(text)


@pytest.mark.parametrize("value", [0, 2_000_000, -1, 1.5, math.inf, True, ["2 MB/day"], {}])
def test_a_value_that_is_no_text_is_a_wrong_setting(value: object) -> None:
    with pytest.raises(ConfigError, match="budget: write an amount and a period"):
        load_config(overrides={"budget": value}, environment={})


@given(st.text(max_size=40))
def test_any_text_is_a_budget_within_bounds_or_refused(text: str) -> None:
    try:
        budget = parse_budget(text)
    except ValueError:
        return
    assert budget is None or MIN_BYTES <= budget.num_bytes <= MAX_BYTES
