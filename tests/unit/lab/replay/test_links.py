"""Links as functions of virtual time: bytes are conserved, outages delay, order is kept."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_lab.replay.links import PROFILES, Link, LinkProfile, Outages, profile_named
from driftline_shared.errors import ConfigError

LOSSLESS = LinkProfile(name="plain", up_bits_s=8e3, down_bits_s=16e3, round_trip_s=0.2)
SHAKY = LinkProfile(
    name="shaky",
    up_bits_s=8e3,
    down_bits_s=8e3,
    round_trip_s=0.1,
    outages=Outages(every_s=20.0, least_s=2.0, most_s=9.0),
)
names = st.sampled_from(sorted(PROFILES))
moments = st.floats(0, 1e5)
sizes = st.integers(0, 1 << 20)
seeds = st.integers(0, 2**31)


def test_a_plain_link_takes_bits_by_rate_and_half_a_round_trip() -> None:
    sent = Link(LOSSLESS, seed=0).send(1_000, start_s=5.0, direction="up", key=0)
    assert sent.end_s == pytest.approx(5.0 + 1.0 + 0.1)
    assert (sent.num_bytes, sent.num_resent_bytes) == (1_000, 0)


def test_the_ideal_link_takes_no_time() -> None:
    assert Link(PROFILES["ideal"], seed=0).send(10**9, start_s=3, direction="up", key=0).end_s == 3


@given(names, seeds, moments, sizes, st.integers(0, 1 << 20))
def test_the_same_arguments_give_the_same_transfer(
    name: str, seed: int, start_s: float, num_bytes: int, key: int
) -> None:
    first, again = (
        Link(PROFILES[name], seed=seed).send(num_bytes, start_s=start_s, direction="up", key=key)
        for _ in range(2)
    )
    assert first == again
    assert first.end_s >= start_s
    assert first.num_bytes == num_bytes + first.num_resent_bytes


@given(names, seeds, moments, sizes, sizes)
def test_more_bytes_never_arrive_earlier_without_loss(
    name: str, seed: int, start_s: float, one: int, other: int
) -> None:
    profile = PROFILES[name]
    lossless = LinkProfile(
        name=name,
        up_bits_s=profile.up_bits_s,
        down_bits_s=profile.down_bits_s,
        round_trip_s=profile.round_trip_s,
        outages=profile.outages,
    )
    link = Link(lossless, seed=seed)
    ends = [
        link.send(n, start_s=start_s, direction="down", key=0).end_s for n in sorted((one, other))
    ]
    assert ends[0] <= ends[1]


@given(seeds, moments, moments, st.integers(1, 20_000))
def test_who_starts_later_is_not_done_earlier(
    seed: int, one: float, other: float, num_bytes: int
) -> None:
    link = Link(SHAKY, seed=seed)
    ends = [
        link.send(num_bytes, start_s=at, direction="up", key=0).end_s for at in sorted((one, other))
    ]
    assert ends[0] <= ends[1] + 1e-6


@given(seeds, st.floats(0, 1_000), st.integers(1, 20_000))
def test_bytes_go_only_while_the_link_is_up(seed: int, start_s: float, num_bytes: int) -> None:
    """The time with a link between start and end is what the bytes and the half trip need."""
    link = Link(SHAKY, seed=seed)
    end_s = link.send(num_bytes, start_s=start_s, direction="up", key=0).end_s
    down_s, at_s = 0.0, start_s
    while at_s < end_s:
        up_s = link.up_from(at_s)
        down_s += min(up_s, end_s) - at_s
        at_s = up_s + 1e-3 if up_s < end_s else end_s
    needed_s = 8 * num_bytes / SHAKY.up_bits_s + SHAKY.round_trip_s / 2
    assert end_s - start_s - down_s == pytest.approx(needed_s, abs=0.02)


@given(seeds, st.integers(0, 500))
def test_each_period_has_one_outage_of_the_length_it_may_have(seed: int, period: int) -> None:
    link, step_s = Link(SHAKY, seed=seed), 0.05
    at = [period * 20.0 + n * step_s for n in range(400)]
    down = [not link.is_up(one) for one in at]
    assert 2.0 - 2 * step_s <= sum(down) * step_s <= 9.0 + 2 * step_s
    assert sum(a != b for a, b in pairwise(down)) <= 2


def test_an_outage_delays_what_starts_in_it_to_its_end() -> None:
    link = Link(SHAKY, seed=3)
    start_s = next(n / 10 for n in range(1_000) if not link.is_up(n / 10))
    assert link.round_trip(start_s=start_s) >= link.up_from(start_s) > start_s


def test_losses_cost_bytes_and_time_and_about_their_share() -> None:
    lossy = LinkProfile(name="lossy", up_bits_s=8e6, down_bits_s=8e6, round_trip_s=0.1, loss=0.1)
    link = Link(lossy, seed=1)
    sent = [link.send(140_000, start_s=0.0, direction="up", key=key) for key in range(300)]
    share = sum(each.num_resent_bytes for each in sent) / (300 * 140_000)
    # Lost packets are lost again: p + p^2 + ... = p / (1 - p).
    assert share == pytest.approx(1 / 9, abs=0.01)
    assert min(each.end_s for each in sent) >= 0.05 + 0.14 - 1e-9


def test_every_profile_is_sound_and_an_unknown_one_is_named() -> None:
    for profile in PROFILES.values():
        assert 0 <= profile.loss < 1 and math.isfinite(profile.round_trip_s)
        if profile.outages is not None:
            assert 0 < profile.outages.least_s <= profile.outages.most_s < profile.outages.every_s
    with pytest.raises(ConfigError, match="known links are ideal, wifi"):
        profile_named("pigeon")


def test_every_bit_of_a_seed_counts() -> None:
    seeds = (0, 1, 2**32, 2**32 + 1, 2**64, 2**200, -1)
    links = [Link(SHAKY, seed=seed) for seed in seeds]
    outages = {tuple(link.up_from(at) for at in range(100)) for link in links}
    assert len(outages) == len(seeds)
