"""What a link moved, by hour and kind, over restarts and clocks that jump."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from driftline_device.daemon.spending import FILE, HOUR_S, Spending, read_hours, spent
from driftline_device.link.settings import LinkStats

STATS = LinkStats(
    connected=True,
    last_error="",
    bytes_up=0,
    bytes_down=0,
    update_bytes=0,
    num_sent=0,
    num_acked=0,
    num_refused=0,
    num_retried=0,
    num_reconnects=0,
    num_in_flight=0,
    newest_version=0,
)


def after(up: int, down: int = 0, updates: int = 0) -> LinkStats:
    return replace(STATS, bytes_up=up, bytes_down=down, update_bytes=updates)


def test_sums_become_hours_and_a_day(tmp_path: Path) -> None:
    spending = Spending(tmp_path)
    spending.count(after(100), now_s=0.0)
    spending.count(after(150, down=80, updates=60), now_s=HOUR_S)
    spending.keep(now_s=HOUR_S, at_once=True)
    found = spent(read_hours(tmp_path), now_s=HOUR_S)
    assert found.day == {"up": 150, "asked": 0, "updates": 60, "rest": 20}
    assert found.hour == {"up": 50, "asked": 0, "updates": 60, "rest": 20}
    assert spent(read_hours(tmp_path), now_s=24 * HOUR_S).day["up"] == 50
    assert spent(read_hours(tmp_path), now_s=25 * HOUR_S).day["up"] == 0


def test_a_restart_goes_on_counting(tmp_path: Path) -> None:
    for _ in range(2):
        spending = Spending(tmp_path)
        spending.count(after(100), now_s=10.0)
        spending.keep(now_s=10.0, at_once=True)
    assert spent(read_hours(tmp_path), now_s=20.0).day["up"] == 200


def test_a_clock_set_back_counts_nothing_twice_and_forgets_nothing(tmp_path: Path) -> None:
    spending = Spending(tmp_path)
    spending.count(after(100), now_s=50 * HOUR_S)
    spending.count(after(130), now_s=10 * HOUR_S)
    spending.keep(now_s=0.0, at_once=True)
    assert spent(read_hours(tmp_path), now_s=50 * HOUR_S).day["up"] == 130


def test_it_is_written_at_most_once_a_minute(tmp_path: Path) -> None:
    spending = Spending(tmp_path)
    spending.count(after(100), now_s=1_000.0)
    spending.keep(now_s=1_000.0)
    spending.count(after(200), now_s=1_010.0)
    spending.keep(now_s=1_010.0)
    assert spent(read_hours(tmp_path), now_s=1_010.0).day["up"] == 100
    spending.keep(now_s=1_060.0)
    assert spent(read_hours(tmp_path), now_s=1_060.0).day["up"] == 200


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"hours": 3}', b'{"hours": {"1": {"up": -1, "updates": 0, "rest": 0}}}'],
)
def test_a_broken_file_begins_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    spending = Spending(tmp_path)
    spending.count(after(7), now_s=0.0)
    spending.keep(now_s=0.0, at_once=True)
    assert spent(read_hours(tmp_path), now_s=0.0).day["up"] == 7
