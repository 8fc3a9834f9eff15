"""The owner's one dial at work: plans anew as policies come and the device's day becomes known."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from driftline_device.sampling.budget_ledger import Ledger
from driftline_device.sampling.budget_plan import QUESTIONS_A_DAY, PairFacts, Plan, make_plan
from driftline_device.sampling.budget_text import DAY_S
from driftline_shared.host.clock import Clock
from driftline_shared.tokens import SamplingPolicy

LOOK_S = 600.0
"""Seconds between two looks at how many questions a day come."""

CHANGE = 0.2
"""Change of that number from which on it is planned anew."""


class Dial:
    """Narrows policies to what `ledger`'s budget pays for. `hand`: the owner's own values of a
    policy, which stay.
    """

    def __init__(
        self, text: str, facts: PairFacts, ledger: Ledger, clock: Clock, hand: Mapping[str, Any]
    ) -> None:
        self.ledger = ledger
        self._text = text
        self._facts = facts
        self._clock = clock
        self._hand = dict(hand)
        self._policy = SamplingPolicy()
        self._questions_a_day = QUESTIONS_A_DAY
        self._update_bytes = 0
        # (monotonic seconds, questions seen), the oldest first: a day at most.
        self._seen: deque[tuple[float, int]] = deque(maxlen=int(DAY_S / LOOK_S))
        self.plan = self._make()

    def narrowed(self, policy: SamplingPolicy) -> SamplingPolicy:
        """`policy` as the budget lets it be; it is what is planned for from now on."""
        self._policy = policy
        self.plan = self._make()
        return self.plan.applied(policy, self._hand)

    def take_hand(self, hand: Mapping[str, Any]) -> None:
        """Other values of the owner's own, from the next policy or look on."""
        self._hand = dict(hand)

    def look(self, *, num_seen: int, update_bytes: int) -> SamplingPolicy | None:
        """`num_seen` questions since the start, `update_bytes` in the last 24 hours: the policy to
        be narrowed anew, where these numbers changed much. To be called now and then.
        """
        now_s = self._clock.monotonic_s()
        if not self._seen:
            self._seen.append((now_s, num_seen))
        first_s, first = self._seen[0]
        if now_s - self._seen[-1][0] < LOOK_S:
            return None
        self._seen.append((now_s, num_seen))
        a_day = max(1.0, (num_seen - first) / (now_s - first_s) * DAY_S)
        before = self._questions_a_day, max(1, self._update_bytes)
        after = a_day, max(1, update_bytes)
        if all(abs(new - old) <= CHANGE * old for old, new in zip(before, after, strict=True)):
            return None
        self._questions_a_day, self._update_bytes = a_day, update_bytes
        return self._policy

    def shown(self) -> dict[str, Any]:
        """For the status, in JSON's terms."""
        return {
            "budget": self._text,
            "num_bytes": self.ledger.budget.num_bytes,
            "period_s": self.ledger.budget.period_s,
            "spent": self.ledger.spent,
            "counted_s": self.ledger.age_s,
            "left": self.ledger.left(),
            "plan": asdict(self.plan),
        }

    def _make(self) -> Plan:
        return make_plan(
            self.ledger.budget,
            self._facts,
            self._policy,
            questions_a_day=self._questions_a_day,
            update_bytes=self._update_bytes,
            by_hand=self._hand,
        )
