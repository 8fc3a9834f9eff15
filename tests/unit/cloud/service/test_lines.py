"""Lines that are opened while others are served."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import generate_latest
from sqlalchemy import insert

from driftline_cloud.intake import tables
from driftline_cloud.intake.database import Database
from driftline_cloud.lines.book import ACTIVE, DROPPED, KnownLine, LineBook
from driftline_cloud.service.lines import Lines, ServedLine
from driftline_shared.errors import LinkError, Reason
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers
from tests.fakes.rounds import open_cloud, send

TIMEOUT_S = 30.0


def test_a_line_that_takes_long_to_open_keeps_no_other_one_waiting() -> None:
    database = Database("sqlite://")
    for name in ("one", "two"):
        row = dict.fromkeys(("id", "pair", "pair_name", "base_model", "token_space"), name)
        times = {"added_unix_s": 0, "changed_unix_s": 0}
        with database.write() as connection:
            connection.execute(insert(tables.lines).values(**row, **times, state="active"))
    opening, go_on = threading.Event(), threading.Event()

    def make(row: KnownLine) -> ServedLine:
        if row.id == "two":
            opening.set()
            assert go_on.wait(TIMEOUT_S)
        stands_in: Any = SimpleNamespace(id=row.id, row=row, trace=None)
        return cast(ServedLine, stands_in)

    lines = Lines(LineBook(database), make, clock=FakeClock())
    refreshing = threading.Thread(target=lines.refresh)
    refreshing.start()
    try:
        assert opening.wait(TIMEOUT_S)
        assert lines.of("one").id == "one" and len(lines.all()) == 1
        with pytest.raises(LinkError) as caught:  # the device asks again, and is not sent away
            lines.of("two")
        assert caught.value.reason == Reason.STORE_BUSY
    finally:
        go_on.set()
        refreshing.join(TIMEOUT_S)
    assert [line.id for line in lines.all()] == ["one", "two"]


def test_a_dropped_line_is_in_the_status_and_its_gauges_are_gone(tmp_path: Path) -> None:
    cloud = open_cloud(tmp_path / "state", ReckoningWorkers(), FakeClock())
    send(cloud, range(5))

    def gauges() -> list[str]:
        text = generate_latest(cloud.metrics.registry).decode()
        return [one for one in text.splitlines() if "line=" in one and not one.startswith("#")]

    book = LineBook(cloud.database)
    cloud.status()
    served = gauges()
    assert len(served) > 5 and any("waiting_samples" in one for one in served)
    book.set_state(cloud.first, DROPPED, now_unix_s=1)
    cloud.lines.refresh()
    (line,) = cloud.status().lines
    assert (line.line, line.state, line.num_samples, line.num_waiting) == (
        cloud.first,
        "dropped",
        5,
        5,
    )
    assert gauges() == []
    book.set_state(cloud.first, ACTIVE, now_unix_s=2)
    cloud.lines.refresh()
    (line,) = cloud.status().lines
    assert line.state == "active" and gauges() == served
    cloud.close()
