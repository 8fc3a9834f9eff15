"""What devices came with that no line has: by base, bounded, until the pair is added."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from driftline_cloud.intake.database import Database
from driftline_cloud.lines import unknown
from driftline_cloud.lines.book import DROPPED, LineBook
from driftline_cloud.lines.pairs import line_of
from driftline_cloud.lines.unknown import UnknownBases
from driftline_shared.status import Enrolment
from tests.fakes.cloud import bare_pair


def device(number: int, base: str = "b1") -> Enrolment:
    return Enrolment(
        device_id=f"d{number}", pair="p", token_space="s", base_model=base, adapter_version=0
    )


def test_devices_are_counted_by_base_and_a_base_is_logged_once() -> None:
    bases = UnknownBases(Database("sqlite://"))
    with capture_logs() as logs:
        for at_s in (100, 110, 170):
            bases.note(device(1), now_unix_s=at_s)
        bases.note(device(2), now_unix_s=120)
        bases.note(device(3, "b2"), now_unix_s=130)
    assert [(one.base_model, one.num_devices) for one in bases.listed()] == [("b1", 2), ("b2", 1)]
    assert [one.last_seen_unix_s for one in bases.listed()] == [170, 130]
    assert [one["event"] for one in logs] == ["base.unknown"] * 2


def test_so_many_rows_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unknown, "MOST_ROWS", 3)
    bases = UnknownBases(Database("sqlite://"))
    for number in range(5):
        bases.note(device(number, f"b{number}"), now_unix_s=number)
    assert [one.base_model for one in bases.listed()] == ["b4", "b3", "b2"]


def test_a_base_that_a_line_serves_is_unknown_no_more(tmp_path: Path) -> None:
    database, pair = Database("sqlite://"), bare_pair(tmp_path / "pair")
    bases, book = UnknownBases(database), LineBook(database)
    bases.note(device(1, pair.base_model), now_unix_s=1)
    line = line_of(pair)
    book.add("bare", line, now_unix_s=2)
    assert bases.listed() == ()
    book.set_state(line.id, DROPPED, now_unix_s=3)
    assert len(bases.listed()) == 1
