"""Link profiles: how long bytes are on their way, as a pure function of virtual time and seed.

A transfer starts when its first byte may leave. Its bytes go at the profile's rate while the link
is up and stand still in an outage, as those of a TCP connection that survives it; packets that are
lost are sent again, each round of them after one more round trip; half a round trip later the last
byte is there. What a link does at a moment depends on the profile, the seed and that moment alone,
so two policies replayed with one seed meet the same outages.

docs/replay.md says where the numbers come from.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from driftline_shared.errors import ConfigError

Direction = Literal["up", "down"]

PACKET_BYTES = 1_400
"""Payload of one packet: a frame of 1,500 without the headers of IP, TCP, TLS and HTTP/2."""

MAX_RESENDS = 64
"""Rounds of retransmission after which what is left counts as arrived: bounds the work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outages:
    """The link is down once in every `every_s`, for `least_s` to `most_s`, when the seed says."""

    every_s: float
    least_s: float
    most_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkProfile:
    """A kind of link. Rates in bits a second, 0: no limit. `round_trip_s`: there and back.

    `loss`: share of packets that do not arrive, 0..1.
    """

    name: str
    up_bits_s: float
    down_bits_s: float
    round_trip_s: float
    loss: float = 0.0
    outages: Outages | None = None

    def bits_s(self, direction: Direction) -> float:
        """The rate in that direction; infinite where there is no limit."""
        rate = self.up_bits_s if direction == "up" else self.down_bits_s
        return rate or math.inf


@dataclass(frozen=True, kw_only=True, slots=True)
class Transfer:
    """One transfer: when its last byte has arrived, and the bytes it cost with those sent again."""

    end_s: float
    num_bytes: int
    num_resent_bytes: int = 0


class Link:
    """A profile with a seed. Moments are virtual seconds since the start of the replay."""

    def __init__(self, profile: LinkProfile, *, seed: int) -> None:
        self.profile = profile
        self._seed = _words(seed)

    def is_up(self, at_s: float) -> bool:
        """Whether the link carries anything at `at_s`."""
        return self._outage_at(at_s) is None

    def up_from(self, at_s: float) -> float:
        """The first moment from `at_s` on at which the link is up."""
        outage = self._outage_at(at_s)
        return at_s if outage is None else outage[1]

    def send(self, num_bytes: int, *, start_s: float, direction: Direction, key: int) -> Transfer:
        """Send `num_bytes` from `start_s` on. `key`: which transfer it is; it draws the losses."""
        profile = self.profile
        resent, rounds = self._losses(num_bytes, direction, key)
        wire_s = 8 * (num_bytes + resent) / profile.bits_s(direction)
        sent_s = self._later(start_s, wire_s)
        waits_s = (0.5 + rounds) * profile.round_trip_s
        return Transfer(
            end_s=self._later(sent_s, waits_s),
            num_bytes=num_bytes + resent,
            num_resent_bytes=resent,
        )

    def round_trip(self, *, start_s: float) -> float:
        """When the answer to a message of few bytes is there, sent at `start_s`."""
        return self._later(start_s, self.profile.round_trip_s)

    def _later(self, start_s: float, busy_s: float) -> float:
        """`start_s` plus `busy_s` of time in which the link is up."""
        at_s, left_s = start_s, busy_s
        for _ in range(_MOST_OUTAGES):
            at_s = self.up_from(at_s)
            until_s = self._next_outage(at_s)
            if at_s + left_s <= until_s:
                return at_s + left_s
            left_s -= until_s - at_s
            at_s = until_s
        raise ConfigError(f"a transfer on link {self.profile.name} does not end: it is too slow")

    def _outage_at(self, at_s: float) -> tuple[float, float] | None:
        outages = self.profile.outages
        if outages is None:
            return None
        start_s, end_s = self._outage(math.floor(at_s / outages.every_s))
        return (start_s, end_s) if start_s <= at_s < end_s else None

    def _next_outage(self, at_s: float) -> float:
        """When the next outage after `at_s` begins."""
        outages = self.profile.outages
        if outages is None:
            return math.inf
        number = math.floor(at_s / outages.every_s)
        start_s, _ = self._outage(number)
        return start_s if start_s > at_s else self._outage(number + 1)[0]

    def _outage(self, number: int) -> tuple[float, float]:
        """The one outage of period `number`: it begins and ends within the period."""
        outages = self.profile.outages
        assert outages is not None
        rng = np.random.default_rng([*self._seed, 1, max(0, number)])
        length_s = float(rng.uniform(outages.least_s, outages.most_s))
        start_s = number * outages.every_s + float(rng.uniform(0, outages.every_s - length_s))
        return start_s, start_s + length_s

    def _losses(self, num_bytes: int, direction: Direction, key: int) -> tuple[int, int]:
        """Bytes sent again, and in how many rounds."""
        if self.profile.loss <= 0.0 or num_bytes == 0:
            return 0, 0
        way = 2 if direction == "up" else 3
        rng = np.random.default_rng([*self._seed, way, key])
        packets = math.ceil(num_bytes / PACKET_BYTES)
        # A message of one short packet sends again no more than it has.
        packet_bytes = min(PACKET_BYTES, num_bytes)
        resent = rounds = 0
        while rounds < MAX_RESENDS:
            packets = int(rng.binomial(packets, self.profile.loss))
            if packets == 0:
                break
            resent += packets * packet_bytes
            rounds += 1
        return resent, rounds


def _words(seed: int) -> tuple[int, ...]:
    """What numpy is seeded with: the seed itself where it is 32 bits, else a hash of all of it."""
    if 0 <= seed < 1 << 32:
        return (seed,)
    digest = hashlib.sha256(str(seed).encode()).digest()
    return tuple(int.from_bytes(digest[at : at + 4], "big") for at in range(0, len(digest), 4))


_MOST_OUTAGES = 1_000_000

_MBIT = 1e6

PROFILES: Mapping[str, LinkProfile] = MappingProxyType(
    {
        each.name: each
        for each in (
            LinkProfile(name="ideal", up_bits_s=0, down_bits_s=0, round_trip_s=0.0),
            LinkProfile(
                name="wifi",
                up_bits_s=20 * _MBIT,
                down_bits_s=50 * _MBIT,
                round_trip_s=0.010,
                loss=0.001,
            ),
            LinkProfile(
                name="lte",
                up_bits_s=12 * _MBIT,
                down_bits_s=12 * _MBIT,
                round_trip_s=0.070,
                loss=0.002,
            ),
            LinkProfile(
                name="3g",
                up_bits_s=0.768 * _MBIT,
                down_bits_s=1.6 * _MBIT,
                round_trip_s=0.150,
                loss=0.005,
            ),
            LinkProfile(
                name="satellite",
                up_bits_s=3 * _MBIT,
                down_bits_s=25 * _MBIT,
                round_trip_s=0.600,
                loss=0.005,
            ),
            LinkProfile(
                name="train",
                up_bits_s=6 * _MBIT,
                down_bits_s=6 * _MBIT,
                round_trip_s=0.090,
                loss=0.010,
                outages=Outages(every_s=300.0, least_s=10.0, most_s=90.0),
            ),
        )
    }
)
"""Every profile by name; an explicit table."""


def profile_named(name: str) -> LinkProfile:
    """The profile of that name. Raises ConfigError for an unknown one."""
    if name not in PROFILES:
        raise ConfigError(f"link {name!r}; known links are {', '.join(PROFILES)}")
    return PROFILES[name]
