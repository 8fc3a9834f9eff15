"""What of a trace is replayed, and at which moment."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from driftline_lab.replay.reading import MOST_GAP_S, answered_ids, first_moment, read_records
from driftline_shared.errors import DataError
from driftline_shared.trace.event import EventKind, TraceEvent
from tests.fakes.runtime import token_space
from tests.fakes.traces import answer_event


def test_a_clock_that_was_set_while_recording_is_named_and_not_waited_for() -> None:
    events = [answer_event(n, wall_unix_s=at) for n, at in ((1, 5.0), (2, 1.0), (3, MOST_GAP_S))]
    records = list(read_records(events, token_space(), with_tokens=False))
    assert [record.at_s for record in records] == [0.0, 0.0, MOST_GAP_S - 5.0]
    events.append(answer_event(4, wall_unix_s=1.8e9, sequence=17))
    with pytest.raises(DataError, match=r"event 17 is .* days after .*trace cut --since"):
        list(read_records(events, token_space(), with_tokens=False))


def rows_of(events: Iterable[TraceEvent]) -> list[dict[str, Any]]:
    return [{"kind": str(event.kind), "sample_id": event.sample_id} for event in events]


def test_a_sample_in_a_trace_of_device_and_cloud_is_replayed_once() -> None:
    answers = [answer_event(number) for number in range(15)]
    cloud = [
        replace(
            event, kind=EventKind.SAMPLE, verdict=verdict, wall_unix_s=event.wall_unix_s + later_s
        )
        for event in answers
        if event.sent
        for verdict, later_s in (("retry", -2.0), ("stored", -1.0), ("duplicate", 1.5))
    ]
    own = answer_event(70, kind=EventKind.SAMPLE, verdict="stored")
    merged = sorted([*answers, *cloud, own], key=lambda event: event.wall_unix_s)
    answered = answered_ids(lambda _columns: rows_of(merged))
    counts: Counter[str] = Counter()
    records = list(
        read_records(
            merged,
            token_space(),
            with_tokens=False,
            answered=answered,
            on_repeated=lambda: counts.update(["repeated"]),
        )
    )
    assert len(records) == 15 + 1 and counts["repeated"] == len(cloud) == 9
    sent = [record.sample.id for record in records if record.sample is not None]
    assert len(sent) == len(set(sent)) == 4
    # The cloud's clock was behind: its row of answer 0 came first, and is no moment of the replay.
    assert first_moment(merged, answered) == answers[0].wall_unix_s
    alone = list(read_records([*cloud, own], token_space(), with_tokens=False))
    assert [record.question for record in alone] == [
        f"what is number {number}?" for number in (0, 7, 14, 70)
    ]
    assert answered_ids(lambda _columns: rows_of(answers)) == frozenset()


@pytest.mark.parametrize(
    "changes", [{"uncertainty": math.nan}, {"scores": {"margin": math.inf}}, {"wall_unix_s": 1e300}]
)
def test_a_row_that_no_device_records_is_named(changes: dict[str, Any]) -> None:
    events = [answer_event(1, sequence=3, **changes)]
    with pytest.raises(DataError, match="event 3: "):
        first_moment(events)
    with pytest.raises(DataError, match="event 3: "):
        list(read_records(events, token_space(), with_tokens=False))
