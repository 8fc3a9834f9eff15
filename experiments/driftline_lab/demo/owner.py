"""An owner who looks at a device's answers once and says which were right: a script, who knows the
truth. At the first step with enough answers of a drifted domain three in four of the marks correct
a wrong answer, the newest first; the others confirm a right one, which no update should break.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from driftline_device.history.history import History
from driftline_device.history.records import UpdateCard
from driftline_device.history.settings import HistorySettings
from driftline_lab.data.domains import SOURCE
from driftline_shared.errors import DriftlineError

WRONG_SHARE = 0.75
PICTURES_S = 60.0
"""Most seconds until the running device has given its pictures to the marks."""


class ScriptedOwner:
    """Marks `num` answers of the device on `state`, whose events and stream it reads."""

    def __init__(self, state: Path, *, num: int, events: Path, stream: Path) -> None:
        self._state = state
        self._num_wrong = round(WRONG_SHARE * num)
        self._num_right = num - self._num_wrong
        self._events = events
        self._truths = dict(_truths(stream)) if num else {}
        self._done = num == 0

    def look(self) -> None:
        """While the device waits at a step: mark, if there is enough to mark and it was not done.

        On return the marks have their pictures, so that the next update is held to them, however
        fast either process is. Raises DriftlineError where they do not get them.
        """
        if self._done:
            return
        rows = [row for row in _rows(self._events) if row["domain"] != SOURCE][::-1]
        wrong = [row for row in rows if row["correct"] is False][: self._num_wrong]
        right = [row for row in rows if row["correct"]][: self._num_right]
        if len(wrong) < self._num_wrong or len(right) < self._num_right:
            return
        with closing(_history(self._state)) as history:
            for row in wrong:
                truth = self._truths[row["place"].rpartition(":")[2]]
                history.mark(row["id"], right=False, answer=truth, now_s=time.time())
            for row in right:
                history.mark(row["id"], right=True, answer=None, now_s=time.time())
            deadline_s = time.monotonic() + PICTURES_S
            while len(history.checked()) < len(wrong) + len(right):
                if time.monotonic() > deadline_s:
                    raise DriftlineError("the device gave its marks no pictures")
                time.sleep(0.1)
        self._done = True


def cards_of(state: Path) -> list[UpdateCard]:
    """What became of each update of the device on `state`, the oldest first."""
    with closing(_history(state)) as history:
        return history.updates(most=1_000)[::-1]


def _history(state: Path) -> History:
    return History(state, HistorySettings())


def _rows(events: Path) -> Iterator[Mapping[str, Any]]:
    if not events.exists():  # at the first step, before the first answer
        return
    with events.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            yield json.loads(line)


def _truths(stream: Path) -> Iterator[tuple[str, str]]:
    """Number of each row, as the device's places end, and its true answer, where it has one."""
    with stream.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield str(number), str(json.loads(line)["answer"])
            except (ValueError, KeyError, TypeError):  # the device names broken rows
                continue
