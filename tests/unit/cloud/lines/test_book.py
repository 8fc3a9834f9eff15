"""What an operator does to a line stands in the log, with who did it."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_cloud.intake.database import Database
from driftline_cloud.lines.book import ACTIVE, DROPPED, PAUSED, LineBook
from driftline_cloud.lines.pairs import line_of
from driftline_cloud.rollout.audit import entries, operator
from driftline_shared.errors import DataError
from tests.fakes.cloud import bare_pair


def test_orders_about_a_line_are_in_the_log(tmp_path: Path) -> None:
    database = Database("sqlite://")
    book, line = LineBook(database), line_of(bare_pair(tmp_path / "pair"))
    book.add("bare", line, now_unix_s=1)
    assert entries(database) == []
    for number, state in enumerate((PAUSED, ACTIVE, DROPPED), start=2):
        who = "anna" if state == PAUSED else ""
        assert book.set_state(line.id, state, now_unix_s=number, who=who).state == state
    assert [(one.who, one.action, one.line, one.at_unix_s) for one in entries(database)] == [
        (operator(), "drop line", line.id, 4),
        (operator(), "resume line", line.id, 3),
        ("anna", "pause line", line.id, 2),
    ]


def test_a_line_that_there_is_not_is_told() -> None:
    with pytest.raises(DataError, match="no line nope"):
        LineBook(Database("sqlite://")).set_state("nope", PAUSED, now_unix_s=1)
