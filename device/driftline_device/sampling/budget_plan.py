"""From one budget to everything that costs bytes: codec, token share, samples, the gate, polling.

The rule, in this order, each only as far as the one before it did not do:

    1. of the day's bytes, what updates took lately (an eighth at least, half at most) and a
       sixteenth for questions to the cloud are set apart; samples have the rest
    2. the policy as it is, if all that it would send fits: questions x max_sample_share samples
    3. a coarser codec, one step after the other: fewer bits a token cost the least
    4. fewer tokens a sample, down to a floor
    5. fewer samples: the share of answers, and with it the gate's quantile, so that the most
       unusual answers go and no token is scored in vain

What the owner set by hand stays as it is, and the steps after it have to do more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from driftline_device.sampling.budget_text import DAY_S, ByteBudget
from driftline_shared.tokens import SamplingPolicy

MIN_UPDATES, MAX_UPDATES = 1 / 8, 1 / 2
"""Share of the budget that is kept for updates."""

ASKING = 1 / 16
"""Share of the budget for asking whether there is an update or another policy."""

ASK_BYTES = 160
"""One such question, at most: device id, digest of the base model, versions that failed."""

ENVELOPE_BYTES = 256
"""Of a batch without its samples, at most: device id and digest of the token space."""

TOKEN_FLOOR = 1 / 8
"""Least share of an image's tokens: with fewer the teacher's labels no longer hold."""

QUESTIONS_A_DAY = 8_640.0
"""Until the device knows better: one each ten seconds."""

PLANNED = ("token_codec", "token_share", "max_sample_share", "gate_quantile", "day_bytes")
"""Fields of a policy that a plan sets, unless the owner did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairFacts:
    """What a sample of a pair costs. `num_tokens` of an image. `token_bytes`: bytes of a token by
    codec, as coded. `overhead`: all else in a sample: texts, scores, id, framing. `auto`: the codec
    that `auto` means.
    """

    num_tokens: int
    token_bytes: Mapping[str, float]
    overhead: float
    auto: str

    def sample_bytes(self, codec: str, share: float) -> float:
        """Of one sample."""
        kept = max(1.0, share * self.num_tokens)
        return self.overhead + kept * self.token_bytes[codec]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a budget comes to. `day_bytes`, of samples; `update_bytes` and `asking_bytes` are set
    apart, all a day. `samples_a_day`, of `questions_a_day`, with `sample_bytes` each, are expected.
    `poll_s`: least seconds between two questions to the cloud. `most_a_day`: of samples, where a
    longer period's bytes may go in one day; `largest`: bytes of one sample, at most. `narrowed`:
    what is less than the policy asks for. `fits`: whether a single sample fits at all.
    """

    day_bytes: int
    update_bytes: int
    asking_bytes: int
    token_codec: str
    token_share: float
    max_sample_share: float
    gate_quantile: float
    questions_a_day: float
    samples_a_day: float
    sample_bytes: float
    poll_s: float
    most_a_day: int
    largest: int
    narrowed: tuple[str, ...] = ()
    fits: bool = True

    def applied(self, policy: SamplingPolicy, by_hand: Mapping[str, Any]) -> SamplingPolicy:
        """`policy` as the plan narrows it; `by_hand`: the owner's own values, above both."""
        bound = min(policy.day_bytes or self.most_a_day, self.most_a_day)
        planned = {name: getattr(self, name) for name in PLANNED} | {"day_bytes": bound}
        largest = min(policy.sample_bytes or self.largest, self.largest)
        return replace(policy, sample_bytes=largest, **{**planned, **by_hand})


def make_plan(
    budget: ByteBudget,
    facts: PairFacts,
    policy: SamplingPolicy,
    *,
    questions_a_day: float = QUESTIONS_A_DAY,
    update_bytes: int = 0,
    by_hand: Mapping[str, Any] | None = None,
) -> Plan:
    """The plan for `policy` by the rule above. `update_bytes`: of the last 24 hours."""
    hand = dict(by_hand or {})
    policy = replace(policy, **hand)
    total = budget.day_bytes
    updates = math.ceil(min(max(update_bytes, MIN_UPDATES * total), MAX_UPDATES * total))
    asking = math.ceil(ASKING * total)
    day_bytes = max(1, total - updates - asking)
    room = min(day_bytes, hand["day_bytes"]) if hand.get("day_bytes") else day_bytes
    wanted = max(1.0, questions_a_day * policy.max_sample_share)
    codec = facts.auto if policy.token_codec == "auto" else policy.token_codec
    share, narrowed = policy.token_share, []

    def cost() -> float:
        return wanted * facts.sample_bytes(codec, share)

    if "token_codec" not in hand:
        for coarser in _coarser(codec, facts):
            if cost() <= room:
                break
            codec = coarser
            narrowed.append("token_codec")
    if cost() > room and "token_share" not in hand:
        kept = (room / wanted - facts.overhead) / facts.token_bytes[codec] / facts.num_tokens
        floor = min(share, max(TOKEN_FLOOR, policy.token_floor))
        lower = max(floor, math.floor(kept * 64) / 64)
        if lower < share:
            share = lower
            narrowed.append("token_share")
    each = facts.sample_bytes(codec, share)
    num = min(wanted, room / each)
    most = max(1, int((1.0 - ASKING) * budget.num_bytes) - ENVELOPE_BYTES)
    sample_share, quantile = policy.max_sample_share, policy.gate_quantile
    if num < wanted and "max_sample_share" not in hand:
        sample_share = min(sample_share, num / max(1.0, questions_a_day))
        narrowed.append("max_sample_share")
        if "gate_quantile" not in hand and 1.0 - sample_share > quantile:
            quantile = 1.0 - sample_share
            narrowed.append("gate_quantile")
    return Plan(
        day_bytes=day_bytes,
        update_bytes=updates,
        asking_bytes=asking,
        token_codec=codec,
        token_share=share,
        max_sample_share=min(1.0, sample_share),
        gate_quantile=min(1.0, quantile),
        questions_a_day=questions_a_day,
        samples_a_day=num,
        sample_bytes=each,
        poll_s=min(DAY_S, math.ceil(2 * ASK_BYTES * DAY_S / asking)),
        most_a_day=max(day_bytes, int(day_bytes * budget.period_s / DAY_S)),
        largest=most,
        narrowed=tuple(dict.fromkeys(narrowed)),
        fits=each <= most,
    )


def _coarser(codec: str, facts: PairFacts) -> list[str]:
    """Codecs of fewer bytes a token than `codec`, the nearest first."""
    bound = facts.token_bytes[codec]
    fewer = [name for name, num in facts.token_bytes.items() if num < bound]
    return sorted(fewer, key=lambda name: -facts.token_bytes[name])
