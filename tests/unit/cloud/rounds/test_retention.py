"""What is past its time goes, a little at a time; what rounds need stays."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import func, insert, select, update

from driftline_cloud.intake import counts, tables
from driftline_cloud.intake.quarantine import Fault
from driftline_cloud.lines.book import DROPPED, LineBook
from driftline_cloud.rollout.audit import write_entry
from driftline_cloud.rounds import retention
from driftline_cloud.rounds.retention import Retention, RetentionSettings
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers
from tests.fakes.rounds import open_cloud, run_rounds, send

DAY_S = 86_400


def _num(database, table) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table))


def _retention(cloud, clock, **limits: int) -> Retention:
    return Retention(database=cloud.database, settings=RetentionSettings(**limits), clock=clock)


def _report(number: int, received_unix_s: int) -> dict[str, object]:
    return {
        "device_id": f"d{number}", "line": "l", "version": 1, "outcome": "applied", "reason": "",
        "detail": "", "numbers": {}, "received_unix_s": received_unix_s,
    }  # fmt: skip


def test_reports_and_usage_go_by_age_and_count_and_some_at_a_time(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(retention, "_SOME", 4)
    clock = FakeClock()
    cloud = open_cloud(tmp_path / "state", ReckoningWorkers(), clock)
    now_s = int(clock.now_s())
    with cloud.database.write() as connection:
        old, new = now_s - 11 * DAY_S, now_s - 9 * DAY_S
        connection.execute(
            insert(tables.reports), [_report(n, old if n < 6 else new) for n in range(12)]
        )
        for day in (now_s // DAY_S - 11, now_s // DAY_S - 9):
            connection.execute(
                insert(tables.usage).values(device_id="d1", day=day, num_samples=1, num_bytes=1)
            )
    tidy = _retention(cloud, clock, reports_days=10, most_reports=3, usage_days=10)
    assert tidy.step() == {"reports": 8, "usage": 1}
    assert tidy.step() == {"reports": 1}
    assert tidy.step() == {}
    assert (_num(cloud.database, tables.reports), _num(cloud.database, tables.usage)) == (3, 1)
    cloud.close()


def test_who_did_what_goes_by_age_and_count(tmp_path: Path) -> None:
    clock = FakeClock()
    cloud = open_cloud(tmp_path / "state", ReckoningWorkers(), clock)
    now_s = int(clock.now_s())
    with cloud.database.write() as connection:
        for number in range(8):
            write_entry(
                connection,
                now_unix_s=now_s - (11 if number < 3 else 9) * DAY_S,
                who="ada",
                action="pause",
                line="l",
                version=1,
            )
    assert _retention(cloud, clock, audit_days=10, most_audit=0).step() == {"audit": 3}
    assert _retention(cloud, clock, audit_days=0, most_audit=2).step() == {"audit": 3}
    assert _num(cloud.database, tables.audit) == 2
    cloud.close()


def test_samples_without_bytes_go_and_then_their_rounds_but_never_the_last(tmp_path: Path) -> None:
    clock = FakeClock()
    cloud = open_cloud(tmp_path / "state", ReckoningWorkers(), clock)
    for first in (0, 40, 80):
        send(cloud, range(first, first + 40))
        run_rounds(cloud)
    database = cloud.database
    assert [one.number for one in cloud.ledger.newest(cloud.line.id, limit=9)] == [3, 2, 1]
    tidy = _retention(cloud, clock, samples_days=1, most_rounds=1, usage_days=0, audit_days=0)
    clock.sleep(10_000 * DAY_S)
    assert tidy.step() == {}  # all of them have their bytes
    with database.write() as connection:
        connection.execute(
            update(tables.samples)
            .where(tables.samples.c.round_id.like("%r0001"))
            .values(state="dropped", body=b"")
        )
    assert tidy.step() == {"samples": 40, "rounds": 1}
    assert [one.number for one in cloud.ledger.newest(cloud.line.id, limit=9)] == [3, 2]
    assert _num(database, tables.samples) == 80
    with database.read() as connection:
        assert counts.recount(connection) == []
    assert tidy.step() == {}
    send(cloud, range(120, 160))
    run_rounds(cloud)
    newest = cloud.ledger.newest(cloud.line.id)[0]
    assert newest.number == 4
    assert not newest.reason.startswith(("snapshot", "labelling"))  # it found all it needs
    assert str(newest.state) in ("done", "rejected")
    cloud.close()


def test_samples_of_a_line_that_was_dropped_long_ago_go_whatever_their_state(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    cloud = open_cloud(tmp_path / "state", ReckoningWorkers(), clock)
    samples = send(cloud, range(12))
    fault = Fault.of(samples[0].id, ValueError("odd"))
    cloud.quarantine.put([fault], round_id="r", now_unix_s=1)
    tidy = _retention(cloud, clock, samples_days=10)
    clock.advance(20 * DAY_S)
    assert tidy.step() == {}, "they wait for a round"
    book = LineBook(cloud.database)
    book.set_state(cloud.first, DROPPED, now_unix_s=int(clock.now_s()))
    clock.advance(9 * DAY_S)
    assert tidy.step() == {}, "it was dropped nine days ago"
    clock.advance(2 * DAY_S)
    assert tidy.step() == {"samples": 12}
    for table in (tables.samples, tables.quarantine):
        assert _num(cloud.database, table) == 0
    assert cloud.store.counts(cloud.first).num_samples == 0
    cloud.close()
