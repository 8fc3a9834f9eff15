"""What a log says again and again: once, then hourly, and how many there were."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from driftline_shared.program.repeats import AGAIN_S, EVERY_S, MAX_KEYS, MOST, RepeatLimit
from tests.fakes.clock import FakeClock

DAY_S = 86_400


class Log:
    """A logger behind the limit, at a clock of its own; `lines` are what came through."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.lines: list[dict[str, Any]] = []
        self._limit = RepeatLimit(self.clock.monotonic_s)

    def __call__(self, level: str, event: str, **fields: Any) -> bool:
        try:
            self.lines.append(dict(self._limit(None, level, {"event": event, **fields})))
        except structlog.DropEvent:
            return False
        return True


@pytest.fixture
def log() -> Iterator[Log]:
    yield Log()


def test_a_day_offline_has_few_lines(log: Log) -> None:
    for second in range(DAY_S):
        log.clock.advance(1.0)
        text = f"failed to connect to all addresses; last error at {second}: Connection refused"
        if second % 5 == 0:  # an update is asked for
            log("warning", "link.failed", who="check", reason="unreachable", error=text)
            log("info", "updates.waiting", reason="unreachable", error=text)
        if second % 30 == 0:
            log("warning", "link.failed", who="control", reason="unreachable", error=text)
    assert len(log.lines) <= 3 * 24 + 3
    assert sum(line.get("num_left_out", 0) for line in log.lines) > 30_000


def test_a_day_on_a_full_disk_has_few_lines(log: Log) -> None:
    for _ in range(DAY_S):
        log.clock.advance(1.0)
        for what in ("status", "sampling", "state"):
            log("error", "daemon.not_written", what=what, error="No space left on device")
    assert len(log.lines) <= 3 * 24 + 3


def test_the_first_line_of_each_kind_comes_at_once(log: Log) -> None:
    assert log("error", "answer.raised", error="RuntimeError: a kernel failed")
    assert log("error", "answer.raised", error="RuntimeError: out of memory")
    assert not log("error", "answer.raised", error="RuntimeError: a kernel failed")
    assert log("warning", "source.image_broken", place="img_1.png")
    assert log("warning", "source.image_broken", place="img_2.png")


def test_a_new_outage_is_told_again_after_the_one_before_has_ended(log: Log) -> None:
    assert log("warning", "link.failed", who="control")
    assert log("info", "link.works_again", who="control")
    assert not log("warning", "link.failed", who="control"), "it flaps"
    log.clock.advance(AGAIN_S)
    assert log("warning", "link.failed", who="control")
    assert log.lines[-1]["num_left_out"] == 1
    log.clock.advance(AGAIN_S)
    assert not log("warning", "link.failed", who="control"), "the same outage"
    log.clock.advance(EVERY_S)
    assert log("warning", "link.failed", who="control")


def test_what_flaps_does_not_say_each_time_that_it_is_over(log: Log) -> None:
    for _ in range(50):
        log("error", "store.write_failed", cause="no space left")
        log("info", "store.writes_again", after="no space left")
        log.clock.advance(1.0)
    assert [line["event"] for line in log.lines] == ["store.write_failed", "store.writes_again"]


def test_ids_are_no_news_and_lines_are(log: Log) -> None:
    assert log("error", "answers.failed", sample="0193f0c2a1b27c3d9e4f5a6b7c8d9e0f")
    assert not log("error", "answers.failed", sample="0193f0c2a1b27c3d9e4f5a6b7c8d9e10")
    assert log("error", "line.not_served", line="tiny-0193f0c2a1b2")
    assert log("error", "line.not_served", line="tiny-0193f0c2a1b3")


def test_who_comes_after_knows_what_was_told(tmp_path: Path) -> None:
    clock, memory = FakeClock(), tmp_path / "told"

    def tell(event: str, level: str = "error") -> bool:
        try:
            RepeatLimit(clock.monotonic_s, memory=memory)(None, level, {"event": event})
        except structlog.DropEvent:
            return False
        return True

    assert [tell("work.failed") for _ in range(3)] == [True, False, False]
    assert tell("store.write_failed") and tell("store.writes_again", "info")
    assert not tell("store.writes_again", "info")
    clock.advance(AGAIN_S)
    assert tell("store.write_failed") and not tell("work.failed")
    clock.advance(EVERY_S)
    assert tell("work.failed")
    memory.write_bytes(b"[broken\n")
    assert tell("work.failed"), "a memory that does not read is none"


def test_no_event_floods_whatever_it_names(log: Log) -> None:
    passed = [log("warning", "source.image_broken", place=f"{n}.png") for n in range(10 * MOST)]
    assert sum(passed) == MOST
    log.clock.advance(EVERY_S)
    assert log("warning", "source.image_broken", place="one_more.png")


def test_routine_lines_are_left_alone_and_memory_is_bounded(log: Log) -> None:
    assert all(log("info", "source.ended", source="photos") for _ in range(500))
    for n in range(3 * MAX_KEYS):
        log.clock.advance(EVERY_S)
        log("error", f"odd.{n}")
    assert len(log._limit._told) <= MAX_KEYS
