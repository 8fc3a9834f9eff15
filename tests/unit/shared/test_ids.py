"""Ids: made once, ordered by time, kept for ever."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path

import pytest

from driftline_shared import ids
from driftline_shared.host.clock import SystemClock
from driftline_shared.ids import keep_device_id, load_device_id, new_sample_id
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
    first, kept = load_device_id(path)
    assert first.startswith("device-") and kept
    assert load_device_id(path) == (first, True)
    assert [child.name for child in path.parent.iterdir()] == ["device_id"]


def test_two_that_start_at_once_agree(tmp_path: Path) -> None:
    path = tmp_path / "device_id"
    made: list[str] = []
    together = threading.Barrier(4)

    def start() -> None:
        together.wait(10)
        made.append(load_device_id(path)[0])

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(made) == 4
    assert set(made) == {load_device_id(path)[0]}
    assert [child.name for child in tmp_path.iterdir()] == ["device_id"]


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff" * 9, b"x" * 999, None])
def test_a_broken_device_id_is_set_aside_for_a_new_one(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "device_id"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    made, kept = load_device_id(path)
    assert kept and load_device_id(path) == (made, True)
    aside = tmp_path / "device_id.broken"
    assert aside.is_dir() if content is None else aside.read_bytes() == content


def test_an_id_that_the_disk_does_not_take_holds_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "device_id"
    with monkeypatch.context() as patch:
        patch.setattr(ids, "write_atomic", full)
        made, kept = load_device_id(path)
        assert not kept and not keep_device_id(path, made)
    assert keep_device_id(path, made) and load_device_id(path) == (made, True)


def test_the_system_clock_waits_for_events() -> None:
    clock, event = SystemClock(), threading.Event()
    assert not clock.wait(event, 0.0)
    event.set()
    assert clock.wait(event, 60.0)
    before = clock.monotonic_s()
    clock.sleep(-1.0)
    assert clock.monotonic_s() >= before
    assert clock.now_s() > 1_700_000_000
