"""Ids: made once, ordered by time, kept for ever."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path

import pytest

from driftline_shared.errors import ConfigError
from driftline_shared.host.clock import SystemClock
from driftline_shared.ids import load_device_id, new_sample_id
from tests.fakes.clock import FakeClock


def test_sample_ids_are_uuids_of_version_7() -> None:
    clock = FakeClock(now_s=1_700_000_000.123)
    made = uuid.UUID(bytes=new_sample_id(clock))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == 1_700_000_000_123


def test_sample_ids_rise_with_time_and_differ_within_a_moment() -> None:
    clock = FakeClock()
    first = {new_sample_id(clock) for _ in range(100)}
    clock.advance(0.002)
    later = new_sample_id(clock)
    assert len(first) == 100
    assert all(sample_id < later for sample_id in first)


def test_sample_ids_stay_16_bytes_whatever_the_clock_says() -> None:
    for now_s in (0.0, 1e15):
        assert len(new_sample_id(FakeClock(now_s=now_s))) == 16


def test_a_device_id_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "state" / "device_id"
    first = load_device_id(path)
    assert first.startswith("device-")
    assert load_device_id(path) == first
    assert [child.name for child in path.parent.iterdir()] == ["device_id"]


def test_two_that_start_at_once_agree(tmp_path: Path) -> None:
    path = tmp_path / "device_id"
    made: list[str] = []
    together = threading.Barrier(4)

    def start() -> None:
        together.wait(10)
        made.append(load_device_id(path))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(made) == 4
    assert set(made) == {load_device_id(path)}
    assert [child.name for child in tmp_path.iterdir()] == ["device_id"]


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff" * 9, b"x" * 999])
def test_a_broken_device_id_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "device_id"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="holds no device id"):
        load_device_id(path)


def test_the_system_clock_waits_for_events() -> None:
    clock, event = SystemClock(), threading.Event()
    assert not clock.wait(event, 0.0)
    event.set()
    assert clock.wait(event, 60.0)
    before = clock.monotonic_s()
    clock.sleep(-1.0)
    assert clock.monotonic_s() >= before
    assert clock.now_s() > 1_700_000_000
