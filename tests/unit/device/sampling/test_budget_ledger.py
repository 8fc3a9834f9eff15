"""The budget's count: no stretch of its period carries more, whatever happens to the device."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline_device.sampling import budget_ledger
from driftline_device.sampling.budget_ledger import FILE, Ledger
from driftline_device.sampling.budget_text import ByteBudget

HOUR_S = 3_600.0


@dataclass
class Machine:
    """`true_s`: time as it passes; the wall is off by `wrong_s`; monotonic since `booted_s`."""

    true_s: float = 1_000_000.0
    wrong_s: float = 0.0
    booted_s: float = 0.0
    boots: int = 0

    def now_s(self) -> float:
        return self.true_s + self.wrong_s

    def monotonic_s(self) -> float:
        return self.true_s - self.booted_s

    def ledger(self, budget: ByteBudget, state: Path) -> Ledger:
        return Ledger(budget, state, self, boot=f"boot-{self.boots}")  # type: ignore[arg-type]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0, 30 * HOUR_S)),
        st.tuples(st.just("take"), st.integers(1, 400)),
        st.tuples(st.just("ask"), st.integers(1, 60)),
        st.tuples(st.just("tick"), st.just(0)),
        st.tuples(st.sampled_from(["kill", "end", "reboot"]), st.floats(0, 5 * HOUR_S)),
        st.tuples(st.just("jump"), st.floats(-1e8, 1e8)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(1_000, 4_000), st.sampled_from([HOUR_S, 24 * HOUR_S]))
def test_no_stretch_carries_more_than_the_budget(
    steps: list[tuple[str, float]], limit: int, period_s: float
) -> None:
    budget, machine = ByteBudget(num_bytes=limit, period_s=period_s), Machine()
    sent: list[tuple[float, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        ledger = machine.ledger(budget, state)
        for what, number in steps:
            match what:
                case "wait":
                    machine.true_s += number
                case "jump":
                    machine.wrong_s += number
                case "take" | "ask":
                    if ledger.take(int(number), asking=what == "ask"):
                        sent.append((machine.true_s, int(number)))
                case "tick":
                    ledger.keep()
                case _:
                    if what == "end":
                        ledger.keep(at_once=True)
                    machine.true_s += number
                    if what == "reboot":  # as a board without a battery: its wall clock is behind
                        machine.boots, machine.booted_s = machine.boots + 1, machine.true_s
                        machine.wrong_s = -1e9
                    ledger = machine.ledger(budget, state)
    for start, _ in sent:
        assert sum(n for at, n in sent if start <= at < start + period_s) <= limit


BUDGET = ByteBudget(num_bytes=6_400, period_s=24 * HOUR_S)


def test_a_kill_costs_a_64th_and_an_end_nothing(tmp_path: Path) -> None:
    machine = Machine()
    assert machine.ledger(BUDGET, tmp_path).take(10)
    assert machine.ledger(BUDGET, tmp_path).spent == 100
    ledger = machine.ledger(BUDGET, tmp_path)
    ledger.keep(at_once=True)
    assert machine.ledger(BUDGET, tmp_path).spent == 100


def test_what_was_lent_counts_from_the_restart_on_for_it_may_have_left_last(tmp_path: Path) -> None:
    machine = Machine()
    machine.ledger(BUDGET, tmp_path).take(10)
    machine.true_s += 23 * HOUR_S
    again = machine.ledger(BUDGET, tmp_path)
    machine.true_s += 5 * HOUR_S
    assert again.spent == 100


def test_samples_leave_something_for_questions(tmp_path: Path) -> None:
    ledger = Machine().ledger(BUDGET, tmp_path)
    assert ledger.take(ledger.most) and not ledger.take(1)
    assert ledger.take(400, asking=True) and not ledger.take(1, asking=True)


def test_what_came_down_makes_samples_wait(tmp_path: Path) -> None:
    ledger = Machine().ledger(BUDGET, tmp_path)
    ledger.note(6_000)
    assert ledger.left() == 0 and ledger.left(asking=True) == 400


def test_what_reached_nobody_is_given_back(tmp_path: Path) -> None:
    ledger = Machine().ledger(BUDGET, tmp_path)
    for _ in range(1_000):
        assert ledger.take(160, asking=True)
        ledger.give_back(160)
    assert ledger.spent == 0


def test_where_the_count_cannot_be_written_nothing_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Machine().ledger(BUDGET, tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(budget_ledger, "write_json", full)
        assert not ledger.take(10) and ledger.spent == 0
    assert ledger.take(10)


@pytest.mark.parametrize("text", ["", "{}", "null", "[" * 99_999, '{"age_s": 1e400}', "\0"])
def test_a_broken_count_is_a_spent_budget_set_aside(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    machine = Machine()
    ledger = machine.ledger(BUDGET, tmp_path)
    assert ledger.left() == 0 and not (tmp_path / FILE).exists()
    machine.true_s += 26 * HOUR_S
    assert ledger.take(10)


def test_another_period_forgets_nothing(tmp_path: Path) -> None:
    machine = Machine()
    ledger = machine.ledger(BUDGET, tmp_path)
    ledger.take(3_000)
    ledger.keep(at_once=True)
    hourly = ByteBudget(num_bytes=4_000, period_s=HOUR_S)
    assert machine.ledger(hourly, tmp_path).spent == 3_000
