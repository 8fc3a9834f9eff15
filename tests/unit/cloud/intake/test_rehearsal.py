"""Choices by seed and place: the same whatever the ids are, balanced over rounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.intake.rehearsal import (
    choose_rehearsal,
    ranked,
    set_apart,
    split_holdout,
)

_IDS = st.lists(st.binary(min_size=16, max_size=16), unique=True, max_size=60)
_ROUNDS = st.dictionaries(st.sampled_from("abcdef"), _IDS, max_size=6)


def _other(ids: list[bytes]) -> list[bytes]:
    """As many ids of another run: no one of them the same."""
    return [n.to_bytes(17, "big") for n in range(len(ids))]


@given(_IDS, st.integers(0, 100), st.floats(0.0, 0.9))
def test_split_is_a_partition_by_place(ids, seed, share) -> None:
    train, holdout = split_holdout(ids, share=share, seed=seed)
    assert sorted(train + holdout) == sorted(ids)
    others = _other(ids)
    as_others = [[others[ids.index(one)] for one in part] for part in (train, holdout)]
    assert split_holdout(others, share=share, seed=seed) == tuple(as_others)
    if len(ids) >= 2 and share > 0:
        assert train
        assert holdout
        assert abs(len(holdout) - share * len(ids)) <= 1


@given(_ROUNDS, st.integers(0, 200), st.integers(0, 100))
def test_rehearsal_is_bounded_and_repeatable(by_round, count, seed) -> None:
    chosen = choose_rehearsal(by_round, count=count, seed=seed)
    again = choose_rehearsal(dict(reversed(by_round.items())), count=count, seed=seed)
    assert chosen == again
    # One id may sit in two rounds of the drawn example; counting by round needs them apart.
    total = sum(len(ids) for ids in by_round.values())
    assert len(chosen) == min(count, total)


@given(_ROUNDS, st.integers(0, 200), st.integers(0, 100))
def test_rehearsal_goes_by_round_and_place(by_round, count, seed) -> None:
    """Two runs that differ in their random ids alone rehearse the same places."""

    def places(run: str) -> list[bytes]:
        rounds = {
            name: [f"{run}{name}{place}".encode() for place in range(len(ids))]
            for name, ids in by_round.items()
        }
        return [
            one.removeprefix(run.encode())
            for one in choose_rehearsal(rounds, count=count, seed=seed)
        ]

    assert places("one run ") == places("another ")


def test_no_round_is_crowded_out() -> None:
    by_round = {
        "old": [bytes([1, n]) for n in range(5)],
        "mid": [bytes([2, n]) for n in range(100)],
        "new": [bytes([3, n % 256, n // 256]) for n in range(1000)],
    }
    chosen = choose_rehearsal(by_round, count=65, seed=7)
    shares = [sum(one[0] == kind for one in chosen) for kind in (1, 2, 3)]
    assert shares == [5, 30, 30]


def test_the_last_places_are_drawn_by_seed() -> None:
    by_round = {name: [name.encode() + bytes([n]) for n in range(9)] for name in "abcdef"}
    winners = {
        frozenset(one[:1] for one in choose_rehearsal(by_round, count=2, seed=seed))
        for seed in range(40)
    }
    assert len(winners) > 5


@given(_IDS, st.integers(0, 5), st.integers(0, 5))
def test_ranks_differ_by_seed_and_purpose(ids, one, other) -> None:
    assert sorted(ranked(ids, one, "x")) == sorted(ids)
    if len(ids) > 20 and one != other:
        assert ranked(ids, one, "x") != ranked(ids, other, "x")
        assert ranked(ids, one, "x") != ranked(ids, one, "y")


def test_rejected_rounds_are_set_apart_in_the_order_they_are_named() -> None:
    rounds = {"r1": [b"a", b"b"], "r2": [b"c"], "r3": [b"d"]}
    assert set_apart(rounds, ["r3", "r1", "gone"]) == ([b"d", b"a", b"b"], {"r2": [b"c"]})
    assert set_apart(rounds, []) == ([], rounds)
