"""Many rows by one statement mean the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftline_cloud.intake import counts, tables
from driftline_cloud.intake.admission import Quota
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.store import SampleStore
from driftline_cloud.intake.writing.bulk import add_to_rows, insert_rows, select_rows, update_rows
from driftline_shared.errors import Reason, SampleError
from tests.fakes.postgres import running_postgres
from tests.fakes.samples import encoded

USAGE, KEYS, NUMBERS = tables.usage, ("device_id", "day"), ("num_samples", "num_bytes")
LINE = "bare-0123"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    if request.param == "postgresql":
        with running_postgres() as url:
            found = Database(url)
            yield found
            found.close()
        return
    with tempfile.TemporaryDirectory() as folder:
        found = Database(f"sqlite:///{Path(folder) / 'cloud.sqlite'}")
        yield found
        found.close()


def test_numbers_are_added_and_set_by_keys(database: Database) -> None:
    rows = [(f"d{number}", 7, number, 10 * number) for number in range(1_000)]
    with database.write() as connection:
        add_to_rows(connection, USAGE, KEYS, NUMBERS, rows)
        add_to_rows(connection, USAGE, KEYS, NUMBERS, [("d3", 7, 1, -5), ("d3", 8, 2, 2)])
        wanted = [("d3", 7), ("d999", 7), ("d3", 8), ("nobody", 7), ("d4", 9)]
        found = select_rows(connection, USAGE, (*KEYS, *NUMBERS), KEYS, wanted)
        assert sorted(tuple(row) for row in found) == [
            ("d3", 7, 4, 25),
            ("d3", 8, 2, 2),
            ("d999", 7, 999, 9_990),
        ]
        update_rows(connection, USAGE, KEYS, NUMBERS, [(*row[:2], 6, 6) for row in rows[4:]])
        update_rows(connection, USAGE, KEYS, NUMBERS, [("nobody", 7, 1, 1)])
        found = select_rows(connection, USAGE, (*KEYS, *NUMBERS), KEYS, wanted)
        assert sorted(tuple(row) for row in found) == [
            ("d3", 7, 4, 25),
            ("d3", 8, 2, 2),
            ("d999", 7, 6, 6),
        ]
        assert list(select_rows(connection, USAGE, KEYS, KEYS, [])) == []
        insert_rows(connection, USAGE, (*KEYS, *NUMBERS), [])


def test_samples_of_a_batch_are_known_counted_and_bounded(database: Database) -> None:
    store = SampleStore(database)

    def add(device: str, numbers: range, quota: Quota | None = None) -> list[Reason | bool]:
        found = store.add(
            [encoded(number) for number in numbers],
            device_id=device,
            line=LINE,
            token_space="space",
            gate_score="entropy",
            quota=quota or Quota(),
            now_unix_s=1_700_000_000,
        )
        return [one.reason if isinstance(one, SampleError) else one for one in found.values()]

    assert add("a", range(600)) == [True] * 600
    assert add("b", range(598, 602)) == [False, False, True, True]
    # Two more are allowed: what is known takes no room, and those behind are kept out.
    quota = Quota(day_samples=4)
    busy = [Reason.QUOTA_EXCEEDED] * 2
    assert add("b", range(600, 606), quota) == [False, False, True, True, *busy]
    one = encoded(0)
    assert [sample.id for sample in store.load([one.id])] == [one.id]
    with database.read() as connection:
        assert counts.of_line(connection, LINE).num_waiting == 604
        assert counts.of_device(connection, LINE, "b").num_samples == 4
        assert counts.recount(connection) == []
