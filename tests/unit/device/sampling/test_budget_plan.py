"""The plan of a budget: what it expects fits, in the order of the rule; hands are left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_device.sampling.budget_plan import TOKEN_FLOOR, PairFacts, make_plan
from driftline_device.sampling.budget_text import ByteBudget
from driftline_shared.bounds import check_policy
from driftline_shared.tokens import SamplingPolicy

FACTS = PairFacts(
    num_tokens=64,
    token_bytes={"int8": 100.0, "klt128": 16.0, "klt64": 8.0},
    overhead=130.0,
    auto="klt128",
)
DAY = 86_400.0
budgets = st.integers(1_000, 10**9)
questions = st.floats(0.0, 1e7)


def of(num_bytes: int, period_s: float = DAY) -> ByteBudget:
    return ByteBudget(num_bytes=num_bytes, period_s=period_s)


@given(budgets, questions, st.integers(0, 10**9), st.sampled_from([3_600.0, DAY, 7 * DAY]))
def test_what_is_expected_fits_and_the_policy_can_be_obeyed(
    num_bytes: int, a_day: float, updates: int, period_s: float
) -> None:
    policy, budget = SamplingPolicy(), of(num_bytes, period_s)
    plan = make_plan(budget, FACTS, policy, questions_a_day=a_day, update_bytes=updates)
    assert plan.day_bytes + plan.update_bytes + plan.asking_bytes <= budget.day_bytes + 1
    assert plan.samples_a_day * plan.sample_bytes <= plan.day_bytes * (1 + 1e-9)
    check_policy(plan.applied(policy, {}))
    assert plan.token_share <= policy.token_share
    assert plan.max_sample_share <= policy.max_sample_share
    assert plan.gate_quantile >= policy.gate_quantile
    assert FACTS.token_bytes[plan.token_codec] <= FACTS.token_bytes[FACTS.auto]


@given(budgets, budgets, questions)
def test_more_bytes_never_plan_less(one: int, other: int, a_day: float) -> None:
    less, more = (
        make_plan(of(num), FACTS, SamplingPolicy(), questions_a_day=a_day)
        for num in sorted((one, other))
    )
    assert less.samples_a_day <= more.samples_a_day + 1e-6
    assert FACTS.token_bytes[less.token_codec] <= FACTS.token_bytes[more.token_codec]
    assert less.token_share <= more.token_share or less.token_codec != more.token_codec


@pytest.mark.parametrize(
    ("num_bytes", "narrowed"),
    [
        (10_000_000, ()),
        (1_800_000, ("token_codec",)),
        (1_100_000, ("token_codec", "token_share")),
        (200_000, ("token_codec", "token_share", "max_sample_share", "gate_quantile")),
    ],
)
def test_first_the_codec_then_the_tokens_then_the_samples(
    num_bytes: int, narrowed: tuple[str, ...]
) -> None:
    policy = SamplingPolicy(gate_quantile=0.5)
    plan = make_plan(of(num_bytes), FACTS, policy, questions_a_day=8_640.0)
    assert plan.narrowed == narrowed
    assert plan.token_share >= TOKEN_FLOOR


def test_what_the_owner_set_stays_and_the_rest_does_more() -> None:
    hand = {"token_codec": "int8", "token_share": 0.5}
    plan = make_plan(of(200_000), FACTS, SamplingPolicy(), by_hand=hand)
    assert (plan.token_codec, plan.token_share) == ("int8", 0.5)
    assert plan.samples_a_day * plan.sample_bytes <= plan.day_bytes
    cloud = replace(SamplingPolicy(), revision=7, token_share=0.9, token_codec="klt64")
    obeyed = plan.applied(cloud, hand)
    assert (obeyed.token_codec, obeyed.token_share, obeyed.revision) == ("int8", 0.5, 7)


def test_a_tighter_day_of_the_cloud_holds() -> None:
    plan = make_plan(of(2_000_000), FACTS, SamplingPolicy())
    assert plan.applied(SamplingPolicy(day_bytes=5_000), {}).day_bytes == 5_000
    assert plan.applied(SamplingPolicy(), {}).day_bytes == plan.day_bytes
    weekly = make_plan(of(2_000_000, 7 * DAY), FACTS, SamplingPolicy())
    assert weekly.applied(SamplingPolicy(), {}).day_bytes > 6 * weekly.day_bytes


def test_updates_that_cost_more_leave_less_for_samples() -> None:
    few = make_plan(of(200_000), FACTS, SamplingPolicy(), update_bytes=0)
    many = make_plan(of(200_000), FACTS, SamplingPolicy(), update_bytes=80_000)
    assert many.day_bytes == 200_000 - 80_000 - 12_500 < few.day_bytes


def test_a_budget_below_one_sample_says_so() -> None:
    facts = replace(FACTS, overhead=2_000.0)
    assert not make_plan(of(1_000), facts, SamplingPolicy()).fits
