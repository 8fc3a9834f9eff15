"""What only the spool on disk promises: restarts, full disks, broken files, bounded work."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from driftline_device.spool import schema
from driftline_device.spool.sqlite import SqliteSpool
from driftline_shared.tokens import Sample
from driftline_shared.wire import EncodedSample
from tests.fakes.samples import encoded, make_regions, make_sample

GOLDEN = Path(__file__).resolve().parents[3] / "contract" / "golden" / "spool_1.sql"
"""A spool as the version before regions left it: samples 1 and 2 of three, priorities 1 and 2."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "spool.sqlite"


@pytest.fixture
def spool(path: Path) -> Iterator[SqliteSpool]:
    spool = open_spool(path)
    yield spool
    spool.close()


def open_spool(path: Path) -> SqliteSpool:
    return SqliteSpool(path, max_bytes=16 << 20, max_samples=200_000)


def everything(spool: SqliteSpool) -> list[Sample]:
    return [row.sample for _, row in spool.peek(max_bytes=1 << 40, max_samples=1 << 20)]


def raw(spool: SqliteSpool) -> sqlite3.Connection:
    assert spool._database is not None
    return spool._database


def test_survives_a_restart_with_its_counts(path: Path) -> None:
    first = open_spool(path)
    for n in range(4):
        first.append(encoded(n, priority=n))
    first.ack([make_sample(0).id])
    first.refuse([make_sample(1).id], "sample_shape")
    before = first.stats()
    first.close()
    second = open_spool(path)
    assert second.stats() == before
    assert everything(second) == [make_sample(n, priority=n) for n in (2, 3)]
    second.close()


def test_a_spool_of_before_regions_goes_on(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        database.executescript(GOLDEN.read_text())
    database.close()
    spool = open_spool(path)
    old = [make_sample(n, priority=float(n), payload_bytes=24) for n in (1, 2)]
    assert everything(spool) == old
    new = replace(make_sample(7), regions=make_regions(7))
    assert spool.append(EncodedSample.of(new))
    assert everything(spool) == [*old, new]
    assert spool.ack([sample.id for sample in old]) == 2
    stats = spool.stats()
    assert (stats.num_samples, stats.num_appended, stats.num_acked) == (1, 4, 3)
    spool.close()
    assert not path.with_name("spool.sqlite.corrupt").exists()


def test_opening_100_000_samples_scans_nothing(path: Path) -> None:
    open_spool(path).close()
    with sqlite3.connect(path) as database:
        database.executemany(
            "INSERT INTO samples (id, priority, bytes, body) VALUES (?, ?, 1, x'00')",
            ((n.to_bytes(16, "big"), float(n % 97)) for n in range(100_000)),
        )
        database.execute("UPDATE counts SET value = 100000 WHERE name IN ('samples', 'bytes')")
    database.close()
    statements: list[str] = []
    num_steps = 0

    def step() -> int:
        nonlocal num_steps
        num_steps += 1
        return 0

    connect = sqlite3.connect

    def watched(*args: object, **kwargs: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **kwargs)  # type: ignore[call-overload]
        connection.set_trace_callback(statements.append)
        connection.set_progress_handler(step, 1_000)
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", watched)
        spool = open_spool(path)
    assert spool.stats().num_samples == 100_000
    spool.close()
    assert not [text for text in statements if "FROM samples" in text]
    # A thousand virtual machine instructions per step: a scan of 100,000 rows takes hundreds.
    assert num_steps < 10


@pytest.mark.parametrize("statement", [schema.LEAST_INFORMATIVE, schema.IN_ORDER])
def test_the_queue_is_read_by_index(spool: SqliteSpool, statement: str) -> None:
    parameters = (0,) * statement.count("?")
    plan = raw(spool).execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
    text = " ".join(str(row[-1]) for row in plan)
    assert "TEMP B-TREE" not in text
    assert "COVERING INDEX samples_by_priority" in text or "INTEGER PRIMARY KEY" in text


def test_appends_sync_every_commit(spool: SqliteSpool) -> None:
    assert raw(spool).execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert raw(spool).execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL


def test_space_is_given_back(path: Path) -> None:
    spool = open_spool(path)
    samples = [make_sample(n, payload_bytes=100_000) for n in range(60)]
    for sample in samples:
        spool.append(EncodedSample.of(sample))
    spool.close()
    full_bytes = path.stat().st_size
    spool = open_spool(path)
    for start in range(0, 60, 10):
        spool.ack([sample.id for sample in samples[start : start + 10]])
    spool.close()
    assert full_bytes > 60 * 100_000
    assert path.stat().st_size < full_bytes / 2


def test_the_file_stays_within_reach_of_its_bound(path: Path) -> None:
    spool = SqliteSpool(path, max_bytes=1 << 20, max_samples=1_000)
    for n in range(600):
        spool.append(encoded(n, priority=n % 13, payload_bytes=2_300))
    assert spool.stats().num_evicted > 0
    spool.close()
    assert path.stat().st_size < 2.5 * (1 << 20)


def test_a_poison_row_is_set_apart(spool: SqliteSpool) -> None:
    for n in range(4):
        spool.append(encoded(n))
    raw(spool).execute("UPDATE samples SET body = x'ffff' WHERE seq = 1")
    raw(spool).execute("UPDATE samples SET body = 'text' WHERE seq = 2")
    raw(spool).execute(
        "UPDATE samples SET body = (SELECT body FROM samples WHERE seq = 4) WHERE seq = 3"
    )
    assert everything(spool) == [make_sample(3)]
    stats = spool.stats()
    assert (stats.num_samples, stats.num_quarantined) == (1, 3)
    assert raw(spool).execute("SELECT COUNT(*) FROM quarantine").fetchone()[0] == 3
    spool.ack([make_sample(3).id])
    assert spool.stats().num_bytes <= 4  # what 'text' no longer says of its bytes


def test_samples_wait_in_memory_until_a_full_disk_has_room(spool: SqliteSpool) -> None:
    spool.append(encoded(0))
    fill(spool)
    assert spool.append(encoded(1, payload_bytes=100_000))
    assert spool.append(encoded(2, payload_bytes=100_000))
    assert not spool.append(encoded(2, payload_bytes=100_000)), "it is known already"
    stats = spool.stats()
    assert (stats.num_failed, stats.num_samples) == (2, 3)
    assert [sample.id for sample in everything(spool)] == [make_sample(n).id for n in range(3)]
    assert spool.ack([make_sample(1).id]) == 1
    with capture_logs() as logs:
        make_room(spool)
        spool._flush_s = 0.0
        spool.stats()
    assert [(log["event"], log["num_samples"]) for log in logs if "num_samples" in log] == [
        ("spool.on_disk_again", 1)
    ]
    rows = raw(spool).execute("SELECT id FROM samples ORDER BY seq").fetchall()
    assert [row[0] for row in rows] == [make_sample(0).id, make_sample(2).id]
    assert spool.stats().num_samples == 2


def test_what_waits_in_memory_is_bounded_by_the_least_informative(path: Path) -> None:
    spool = SqliteSpool(path, max_bytes=16 << 20, max_samples=3)
    fill(spool)
    for n, priority in enumerate((5.0, 1.0, 3.0, 2.0)):
        spool.append(encoded(n, priority=priority, payload_bytes=100_000))
    assert [sample.priority for sample in everything(spool)] == [5.0, 3.0, 2.0]
    assert spool.stats().num_evicted == 1
    spool.close()


def test_samples_that_never_reached_the_disk_are_told_at_the_end(path: Path) -> None:
    spool = open_spool(path)
    fill(spool)
    spool.append(encoded(1, payload_bytes=100_000))
    with capture_logs() as logs:
        spool.close()
    assert [(log["event"], log["num_samples"]) for log in logs if "num_samples" in log] == [
        ("spool.samples_lost", 1)
    ]


def test_a_file_that_is_taken_away_costs_no_sample(path: Path) -> None:
    spool = open_spool(path)
    for n in range(3):
        spool.append(encoded(n))
    shutil.rmtree(path.parent)
    assert spool.append(encoded(3))
    spool.stats()
    spool.close()
    again = open_spool(path)
    assert sorted(sample.id for sample in everything(again)) == [
        make_sample(n).id for n in range(4)
    ]
    again.close()


def test_a_spool_that_cannot_be_opened_is_one_in_memory_until_it_can(tmp_path: Path) -> None:
    blocker = tmp_path / "place"
    blocker.write_text("not a folder")
    now_s = 0.0
    spool = SqliteSpool(
        blocker / "spool.sqlite", max_bytes=1 << 20, max_samples=9, monotonic_s=lambda: now_s
    )
    assert spool.append(encoded(1))
    assert spool.stats().num_samples == 1
    blocker.unlink()
    now_s = 10.0
    assert spool.append(encoded(2))
    spool.stats()
    assert [sample.id for sample in everything(spool)] == [make_sample(2).id, make_sample(1).id]
    spool.close()
    again = open_spool(blocker / "spool.sqlite")
    assert again.stats().num_samples == 2
    again.close()


@pytest.mark.parametrize("kind", ["emptied", "folder"])
def test_an_emptied_file_and_a_folder_in_its_place_are_told(path: Path, kind: str) -> None:
    spool = open_spool(path)
    spool.append(encoded(1))
    spool.close()
    if kind == "emptied":
        path.write_bytes(b"")
    else:
        path.unlink()
        path.mkdir()
    with capture_logs() as logs:
        again = open_spool(path)
    assert [log["event"] for log in logs] == [
        "spool.emptied" if kind == "emptied" else "state.set_aside"
    ]
    assert again.append(encoded(2)) and again.stats().num_samples == 1
    again.close()


def fill(spool: SqliteSpool) -> None:
    pages = raw(spool).execute("PRAGMA page_count").fetchone()[0]
    raw(spool).execute(f"PRAGMA max_page_count={pages}")


def make_room(spool: SqliteSpool) -> None:
    raw(spool).execute("PRAGMA max_page_count=1000000")


def test_acks_a_full_disk_refused_are_made_up_for(spool: SqliteSpool) -> None:
    for n in range(3):
        spool.append(encoded(n))
    raw(spool).execute("PRAGMA query_only=1")
    assert spool.ack([make_sample(0).id]) == 0
    assert spool.refuse([make_sample(1).id], "sample_shape") == 0
    assert everything(spool) == [make_sample(2)], "settled samples must not be sent again"
    raw(spool).execute("PRAGMA query_only=0")
    assert spool.append(encoded(3))
    stats = spool.stats()
    assert (stats.num_samples, stats.num_acked, stats.num_refused) == (2, 1, 1)
    assert stats.num_failed == 0


def foreign() -> bytes:
    """A database of somebody else."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript("CREATE TABLE something (else_ TEXT); PRAGMA user_version=1")
        return database.serialize()


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough" * 100, b"SQLite format 3\0", foreign()]
)
def test_a_broken_or_foreign_file_is_set_aside_at_the_start(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    path.with_name("spool.sqlite-wal").write_bytes(b"old log")
    spool = open_spool(path)
    assert spool.append(encoded(1))
    assert everything(spool) == [make_sample(1)]
    spool.close()
    assert path.with_name("spool.sqlite.corrupt").read_bytes() == content


def test_a_file_that_breaks_while_open_is_set_aside(path: Path) -> None:
    spool = open_spool(path)
    for n in range(200):
        spool.append(encoded(n, payload_bytes=2_000))
    spool.close()
    content = bytearray(path.read_bytes())
    # Every page but the first few: the database opens, and its rows do not read.
    content[16 * 4096 :] = b"\xa5" * (len(content) - 16 * 4096)
    path.write_bytes(content)
    spool = open_spool(path)
    for n in range(1_000, 1_050):
        spool.peek(max_bytes=1 << 20, max_samples=1_000)
        spool.append(encoded(n))
    assert everything(spool)[-1] == make_sample(1_049)
    assert spool.append(encoded(2_000))
    spool.close()
    assert path.with_name("spool.sqlite.corrupt").exists()


def test_reasons_from_outside_are_bounded(spool: SqliteSpool) -> None:
    for n in range(schema.MAX_REASONS + 5):
        spool.append(encoded(n))
        spool.refuse([make_sample(n).id], f"reason_{n}")
    refused = spool.stats().refused_by_reason
    assert len(refused) == schema.MAX_REASONS + 1
    assert refused["other"] == 5
