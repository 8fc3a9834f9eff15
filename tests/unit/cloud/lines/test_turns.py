"""Where not all lines can work at once, each with work gets its turn."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.lines.turns import START_S, Wish, choose

TURN_S = 600.0


def wish(line: str, **changes: object) -> Wish:
    plain: dict[str, object] = {
        "is_open": False,
        "has_work": False,
        "is_running": False,
        "num_ended": 0,
        "since_s": 0.0,
    }
    return Wish(line=line, **{**plain, **changes})  # type: ignore[arg-type]


def test_all_run_where_there_is_room() -> None:
    wishes = [wish("a"), wish("b")]
    assert choose(wishes, most=0, now_s=1.0, turn_s=TURN_S) == ["a", "b"]
    assert choose(wishes, most=2, now_s=1.0, turn_s=TURN_S) == ["a", "b"]


def test_a_round_is_not_cut_off_before_its_time_and_then_makes_room() -> None:
    running = wish("a", is_running=True, is_open=True, has_work=True)
    wishes = [wish("b", has_work=True), running]
    assert choose(wishes, most=1, now_s=TURN_S - 1, turn_s=TURN_S) == ["a"]
    assert choose(wishes, most=1, now_s=TURN_S, turn_s=TURN_S) == ["b"]


def test_after_a_round_the_next_line_has_its_turn() -> None:
    ended = wish("a", is_running=True, is_open=True, has_work=True, num_ended=1)
    assert choose([ended, wish("b", has_work=True)], most=1, now_s=1.0, turn_s=TURN_S) == ["b"]
    assert choose([ended, wish("b")], most=1, now_s=1.0, turn_s=TURN_S) == ["a"]


def test_a_line_that_starts_is_not_put_aside_at_once() -> None:
    fresh = wish("a", is_running=True, since_s=10.0)
    wishes = [fresh, wish("b", has_work=True)]
    assert choose(wishes, most=1, now_s=11.0, turn_s=TURN_S) == ["a"]
    assert choose(wishes, most=1, now_s=10.0 + START_S, turn_s=TURN_S) == ["b"]


@given(st.integers(1, 6), st.integers(1, 4))
def test_every_line_with_work_comes_to_its_turn(num_lines: int, most: int) -> None:
    """Rounds of 100 s each, all lines always with work: each has half its even share at least."""
    names = [str(number) for number in range(num_lines)]
    running: dict[str, float] = {}
    waiting = dict.fromkeys(names, 0.0)
    rounds = dict.fromkeys(names, 0)
    for now_s in range(0, 100 * num_lines * 4 + 10, 10):
        for since_s, line in ((since_s, line) for line, since_s in running.items()):
            rounds[line] += int(now_s > since_s and (now_s - since_s) % 100 == 0)
        wishes = [
            wish(
                line,
                is_open=line in running,
                has_work=True,
                is_running=line in running,
                num_ended=int(now_s - running.get(line, now_s)) // 100,
                since_s=running.get(line, waiting[line]),
            )
            for line in names
        ]
        chosen = choose(wishes, most=most, now_s=now_s, turn_s=TURN_S)
        assert len(chosen) == min(num_lines, most)
        for line in names:
            if line in running and line not in chosen:
                del running[line]
                waiting[line] = now_s
            elif line in chosen and line not in running:
                running[line] = now_s
    # Ties of a clock that ticks go by name, so it is not quite even.
    assert 2 * num_lines * min(rounds.values()) >= sum(rounds.values())
