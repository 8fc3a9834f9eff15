"""Answers on standard output: one line each whatever they hold, and nobody who does not read
holds up an answer.
"""

from __future__ import annotations

import io
import json
import os

import pytest
from structlog.testing import capture_logs

from driftline_device.sinks import console as module
from driftline_device.sinks.console import Console, to_json, to_text
from driftline_device.sinks.event import AnswerRecord, Event, answer_event
from tests.fakes.clock import FakeClock
from tests.fakes.waiting import until


def record(answer: str = "yes", **changes: object) -> AnswerRecord:
    values: dict[str, object] = {
        "id": "0" * 32,
        "unix_s": 1_700_000_000.25,
        "feed": "door",
        "source": "camera:0",
        "place": "camera:0#7",
        "question": "open?",
        "uncertainty": 0.12,
        "version": 3,
    }
    return AnswerRecord(answer=answer, **(values | changes))  # type: ignore[arg-type]


def event(answer: str = "yes", **changes: object) -> Event:
    return answer_event(record(answer, **changes))


def printed(*events: Event, form: object = to_text) -> str:
    out = io.StringIO()
    console = Console(out, form, FakeClock())  # type: ignore[arg-type]
    console.start()
    for each in events:
        console.offer(each)
    assert console.close(10.0)
    return out.getvalue()


def test_a_line_for_people_says_what_was_asked_where_and_what_came_back() -> None:
    line = printed(event(sample="ab"))
    for part in ("camera:0#7", "open?", "->", "yes", "0.120", "version 3", "for the cloud"):
        assert part in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("nasty", ["a\nb", "\x1b[2Jgone", "\ud800", "x" * 5000, "\u2028", "\r"])
def test_no_answer_breaks_its_line(nasty: str) -> None:
    line = printed(event(nasty, place=nasty, question=nasty))
    assert len(line.splitlines()) == 1 and line.strip("\n").isprintable()
    (document,) = printed(event(nasty, place=nasty), form=to_json).splitlines()
    assert json.loads(document)["answer"] == nasty


def test_what_cannot_be_known_is_null_and_stays_json() -> None:
    (line,) = printed(event(uncertainty=float("nan")), form=to_json).splitlines()
    assert json.loads(line)["uncertainty"] is None
    assert "unknown" in printed(event(uncertainty=float("nan")))


def test_a_locale_without_the_letters_still_prints() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    console = Console(out, to_text, FakeClock())
    console.start()
    console.offer(event("größer"))
    assert console.close(10.0)
    assert rb"gr\xf6\xdfer" in raw.getvalue()


def test_no_truth_is_published() -> None:
    found = record(correct=True, domain="night", number=7)
    assert found.row()["correct"] is True
    assert not {"correct", "domain", "n"} & set(found.published())


def test_a_pipe_that_nobody_reads_holds_up_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 10)
    reading, writing = os.pipe()
    with capture_logs() as logs, os.fdopen(writing, "w") as out, os.fdopen(reading) as reader:
        console = Console(out, to_text, FakeClock())
        console.start()
        for _ in range(3000):  # far more than a pipe holds
            console.offer(event("x" * 100))
        stats = console.stats()
        assert stats.num_dropped > 0 and 0 < stats.num_waiting <= 10 and stats.error
        assert not console.close(0.0)
        lines = [reader.readline() for _ in range(stats.num_delivered)]
        assert all(line.endswith("\n") for line in lines)
        until(lambda: (reader.readline() or True) and console.stats().num_waiting == 0)
    assert [each["event"] for each in logs].count("console.lost") == 1


def test_a_reader_that_left_is_named_once() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    out = os.fdopen(writing, "w")
    with capture_logs() as logs:
        console = Console(out, to_text, FakeClock())
        console.start()
        for _ in range(100):
            console.offer(event())
        assert console.close(10.0)
    assert [each["event"] for each in logs] == ["console.lost"]
    with pytest.raises(BrokenPipeError):
        out.close()
