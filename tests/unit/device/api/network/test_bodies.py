"""How long a body may take, and how many bytes all together."""

from __future__ import annotations

import pytest

from driftline_device.api.errors import ApiError
from driftline_device.api.network.bodies import BodyLimits, BodyRoom


def test_a_body_that_comes_has_time_and_one_that_stands_still_has_little() -> None:
    limits = BodyLimits(max_bytes=1 << 20, timeout_s=30.0, bytes_per_s=10_000.0)
    assert limits.deadline_s(0) == 3.0
    assert limits.deadline_s(50_000) == 8.0
    assert limits.deadline_s(1 << 20) == 30.0


def test_all_bodies_together_are_bounded() -> None:
    room = BodyRoom(100)
    room.take(60)
    with pytest.raises(ApiError) as full:
        room.take(41)
    assert full.value.status == 429
    room.give_back(60)
    room.take(100)
