"""The dial at work: policies come narrowed, and are narrowed anew as the day becomes known."""

from __future__ import annotations

from pathlib import Path

from driftline_device.daemon.dial import LOOK_S, Dial
from driftline_device.sampling.budget_ledger import Ledger
from driftline_device.sampling.budget_plan import PairFacts
from driftline_device.sampling.budget_text import parse_budget
from driftline_device.show.budget import describe_budget, describe_plan, lasts_until
from driftline_shared.tokens import SamplingPolicy
from tests.fakes.clock import FakeClock

FACTS = PairFacts(num_tokens=64, token_bytes={"int8": 100.0}, overhead=130.0, auto="int8")


def dial(clock: FakeClock, state: Path, text: str = "2 MB/day", **hand: object) -> Dial:
    budget = parse_budget(text)
    assert budget is not None
    return Dial(text, FACTS, Ledger(budget, state, clock), clock, hand)


def test_a_policy_is_narrowed_and_the_owners_own_stays(tmp_path: Path) -> None:
    found = dial(FakeClock(), tmp_path, token_share=0.75).narrowed(SamplingPolicy(revision=3))
    assert (found.revision, found.token_share, found.token_codec) == (3, 0.75, "int8")
    assert found.max_sample_share < 0.3 and found.gate_quantile > 0.9
    assert 0 < found.day_bytes < 2_000_000


def test_few_questions_let_go_of_what_many_needed(tmp_path: Path) -> None:
    clock = FakeClock()
    device = dial(clock, tmp_path)
    policy = SamplingPolicy(revision=3)
    before = device.narrowed(policy)
    assert device.look(num_seen=0, update_bytes=0) is None
    clock.advance(LOOK_S)
    again = device.look(num_seen=2, update_bytes=0)
    assert again == policy
    after = device.narrowed(again)
    assert after.max_sample_share == policy.max_sample_share > before.max_sample_share
    clock.advance(LOOK_S)
    assert device.look(num_seen=4, update_bytes=0) is None, "as before: nothing to plan anew"


def test_it_is_shown_with_what_is_spent_and_how_long_it_lasts(tmp_path: Path) -> None:
    clock = FakeClock()
    device = dial(clock, tmp_path)
    assert device.ledger.take(1_000_000)
    clock.advance(6 * 3_600)
    shown = device.shown()
    assert shown["spent"] == 1_000_000 and shown["plan"]["token_codec"] == "int8"
    assert lasts_until(shown, now_s=0.0) == 6 * 3_600
    assert "1970-01-01 06:00" in " ".join(describe_budget(shown, now_s=0.0))
    assert len(describe_plan(shown)) == 1
    clock.advance(24 * 3_600)
    assert lasts_until(device.shown(), now_s=0.0) is None
