"""Who comes first: counted, the same each time, and a larger share holds every smaller one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from driftline_cloud.rollout.cohort import Candidate, choose, place_of, size_of

FLEETS = st.sets(st.text("abcdef0123", min_size=1, max_size=6), min_size=1, max_size=60)
SHARES = st.floats(0.001, 1.0)


def _choose(fleet, share: float, members=(), first=(), idle=()) -> list[str]:
    return choose(
        [Candidate(device_id=one, is_active=one not in idle) for one in fleet],
        line="l",
        version=3,
        share=share,
        members=members,
        first=first,
    )


@given(FLEETS, SHARES)
def test_a_share_reaches_at_most_so_many_and_at_least_one(fleet: set[str], share: float) -> None:
    chosen = _choose(fleet, share)
    assert len(chosen) == size_of(share, len(fleet)) <= max(1, share * len(fleet) + 1e-6)
    assert chosen and set(chosen) <= fleet
    assert chosen == _choose(sorted(fleet, reverse=True), share)


@given(FLEETS, SHARES, SHARES)
def test_a_larger_share_holds_every_smaller_one(fleet: set[str], one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert set(_choose(fleet, small)) <= set(_choose(fleet, large))


@given(FLEETS, FLEETS, SHARES, SHARES)
def test_who_was_in_stays_in_whoever_comes_and_goes(
    before: set[str], after: set[str], one: float, other: float
) -> None:
    small, large = sorted((one, other))
    members = _choose(before, small)
    later = set(_choose(after, large, members=members))
    assert set(members) <= later
    assert len(later) <= max(len(members), size_of(large, len(after | set(members))))


def test_named_devices_come_first_then_those_that_were_seen_lately() -> None:
    fleet = [f"d{n}" for n in range(40)]
    assert "d7" in _choose(fleet, 0.05, first=("d7", "not enrolled"))
    idle = {one for one in fleet if one != "d9"}
    assert _choose(fleet, 0.025, idle=idle) == ["d9"]


def test_places_are_even_and_other_ones_for_each_version() -> None:
    places = [place_of("l", 1, f"d{n}") for n in range(2_000)]
    assert all(0.0 <= place < 1.0 for place in places)
    assert 0.45 < sum(places) / len(places) < 0.55
    assert _choose([f"d{n}" for n in range(200)], 0.05) != choose(
        [Candidate(device_id=f"d{n}") for n in range(200)], line="l", version=4, share=0.05
    )


def test_a_share_of_whole_devices_is_not_rounded_away() -> None:
    assert [size_of(0.29, 100), size_of(0.1, 30), size_of(0.05, 19), size_of(0.5, 0)] == [
        29, 3, 1, 0,
    ]  # fmt: skip
