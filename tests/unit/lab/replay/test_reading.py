"""What of a trace is replayed, and at which moment."""

from __future__ import annotations

import pytest

from driftline_lab.replay.reading import MOST_GAP_S, read_records
from driftline_shared.errors import DataError
from tests.fakes.runtime import token_space
from tests.fakes.traces import answer_event


def test_a_clock_that_was_set_while_recording_is_named_and_not_waited_for() -> None:
    events = [answer_event(n, wall_unix_s=at) for n, at in ((1, 5.0), (2, 1.0), (3, MOST_GAP_S))]
    records = list(read_records(events, token_space(), with_tokens=False))
    assert [record.at_s for record in records] == [0.0, 0.0, MOST_GAP_S - 5.0]
    events.append(answer_event(4, wall_unix_s=1.8e9, sequence=17))
    with pytest.raises(DataError, match=r"event 17 is .* days after .*trace cut --since"):
        list(read_records(events, token_space(), with_tokens=False))
