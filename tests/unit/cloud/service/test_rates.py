"""A bucket gives a burst and then a steady rate, to each caller its own."""

from __future__ import annotations

import pytest

from driftline_cloud.service.rates import Rate, address_of
from driftline_shared.errors import LinkError, Reason


def test_a_burst_then_a_steady_rate() -> None:
    now = [0.0]
    rate = Rate("reports", 2.0, 3, monotonic_s=lambda: now[0])
    for _ in range(3):
        rate.take("a")
    with pytest.raises(LinkError, match=r"one more in 0\.5 s") as caught:
        rate.take("a")
    assert caught.value.reason is Reason.RATE_EXCEEDED
    rate.take("b")
    now[0] = 0.5
    rate.take("a")
    with pytest.raises(LinkError):
        rate.take("a")
    now[0] = 1_000.0
    for _ in range(3):
        rate.take("a")
    with pytest.raises(LinkError):
        rate.take("a")


def test_no_rate_is_no_limit() -> None:
    rate = Rate("calls", 0.0, 1)
    for _ in range(100):
        rate.take("a")


def test_an_address_is_a_peer_without_its_port() -> None:
    assert address_of("ipv4:10.0.0.7:53112") == "ipv4:10.0.0.7"
    assert address_of("ipv6:[::1]:53112") == "ipv6:[::1]"
    assert address_of("unix:") == "unix"
