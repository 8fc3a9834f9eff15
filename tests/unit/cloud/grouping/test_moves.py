"""Devices change lines with their samples, in one step, and no count is wrong afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import insert, select

from driftline_cloud.grouping import moves
from driftline_cloud.grouping.moves import Order
from driftline_cloud.intake import counts, tables
from driftline_cloud.intake.counts import USED, WAITING
from driftline_cloud.intake.database import Database
from driftline_cloud.lines.book import DROPPED, LineBook
from driftline_cloud.rollout.store import RolloutStore
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.rounds.round import new_round
from driftline_cloud.rounds.shares import Shares
from driftline_shared.errors import DataError

ORDER = Order(who="ann", why="the docks", now_unix_s=100)


@pytest.fixture
def database() -> Iterator[Database]:
    """A line `p` at version 2, four devices on it, two waiting samples each."""
    found = Database("sqlite://")
    with found.write() as connection:
        row = {"id": "p", "pair": "p", "pair_name": "p", "base_model": "b", "token_space": "t"}
        times = {"added_unix_s": 0, "changed_unix_s": 0, "state": "active"}
        connection.execute(insert(tables.lines).values(row | times))
        for version in (1, 2):
            add_version(connection, "p", version)
        for number in range(4):
            connection.execute(
                insert(tables.devices).values(
                    device_id=f"d{number}",
                    line="p",
                    token_space="t",
                    base_model="b",
                    adapter_version=2,
                    enrolled_unix_s=0,
                    last_seen_unix_s=0,
                )
            )
            for place in range(2):
                connection.execute(
                    insert(tables.samples).values(
                        id=bytes([number, place]) * 8,
                        device_id=f"d{number}",
                        line="p",
                        token_space="t",
                        state=WAITING,
                        received_unix_s=0,
                        num_bytes=1,
                        body=b"x",
                    )
                )
            counts.add(connection, "p", {f"d{number}": 2})
    yield found
    with found.read() as connection:
        assert counts.recount(connection) == []
    found.close()


def add_version(connection: object, line: str, version: int) -> None:
    connection.execute(  # type: ignore[attr-defined]
        insert(tables.versions).values(
            line=line, version=version, round_id=f"{line}{version}", digest="d", released_unix_s=0
        )
    )


def devices_of(database: Database) -> dict[str, str]:
    with database.read() as connection:
        found = connection.execute(select(tables.devices.c.device_id, tables.devices.c.line))
        return {row.device_id: row.line for row in found}


def split(database: Database, name: str = "dock", *devices: str) -> None:
    with database.write() as connection:
        moves.split(connection, "p", name, devices or ("d2", "d3"), ORDER)


def test_a_split_takes_devices_samples_and_versions_along(database: Database) -> None:
    split(database)
    assert devices_of(database) == {"d0": "p", "d1": "p", "d2": "p.dock", "d3": "p.dock"}
    row = LineBook(database).find("p/dock")
    assert (row.id, row.parent, row.forked_version, row.pair) == ("p.dock", "p", 2, "p")
    assert LineBook(database).find("p").num_moves == row.num_moves == 1
    assert list(RoundLedger(database).versions("p.dock")) == [1, 2]
    with database.read() as connection:
        assert counts.of_line(connection, "p.dock").num_waiting == 4
    (begun, left) = RolloutStore(database).log(limit=2)
    assert (left.who, left.action, left.line, begun.line) == ("ann", "split", "p", "p.dock")
    assert "2 devices (d2, d3); the docks" in left.detail


def test_an_open_round_keeps_its_samples_and_used_ones_go_along(database: Database) -> None:
    ledger = RoundLedger(database)

    def make(number: int, num_samples: int) -> object:
        return new_round(
            line="p",
            number=number,
            base_seed=0,
            num_samples=num_samples,
            base_version=2,
            trigger="t",
            now_unix_s=0,
        )

    assert ledger.open("p", Shares(most_samples=8), make=make) is not None  # type: ignore[arg-type]
    with database.write() as connection:
        first = tables.samples.c.id == bytes([2, 0]) * 8  # as if of an earlier round
        counts.move(connection, first, USED, {"round_id": "earlier"})
    split(database)
    with database.read() as connection:
        query = select(tables.samples.c.id).where(tables.samples.c.line == "p.dock")
        assert list(connection.execute(query).scalars()) == [bytes([2, 0]) * 8]
    with pytest.raises(DataError, match="no group"), database.write() as connection:
        moves.merge(connection, "p", ORDER)


def test_what_cannot_be_split_is_said_and_changes_nothing(database: Database) -> None:
    split(database)
    for name, devices, words in (
        ("dock", ("d0",), "has, or had, a group dock"),
        ("Dock 2", ("d0",), "is no name"),
        ("yard", ("d0", "d2", "nobody"), "not on p: 2 devices .d2, nobody."),
        ("yard", (), "no device is named"),
    ):
        with pytest.raises(DataError, match=words), database.write() as connection:
            moves.split(connection, "p", name, devices, ORDER)
    with pytest.raises(DataError, match="is a group itself"), database.write() as connection:
        moves.split(connection, "p.dock", "deep", ("d2",), ORDER)
    assert len(LineBook(database).all()) == 2


def test_a_line_that_is_joined_gets_a_number_above_what_the_devices_hold(
    database: Database,
) -> None:
    split(database)
    store = RolloutStore(database)
    with database.write() as connection:
        moves.move(connection, ("d2",), "p", ORDER)  # nothing but shared versions yet
    assert store.number_owed("p") == 0
    with database.write() as connection:
        for version in (3, 4):
            add_version(connection, "p.dock", version)
        moves.move(connection, ("d3",), "p", ORDER)
    assert store.number_owed("p") == 5
    assert "gets version 5" in store.why_held("p", 2, now_unix_s=0, most_s=10)
    assert store.why_held("p", 5, now_unix_s=0, most_s=10) == ""
    with pytest.raises(DataError, match=r"not on p\.dock"), database.write() as connection:
        moves.move(connection, ("d0",), "p", ORDER)


def test_a_merge_takes_all_back_and_drops_the_group(database: Database) -> None:
    split(database)
    with database.write() as connection:
        assert moves.merge(connection, "p.dock", ORDER).id == "p"
    assert set(devices_of(database).values()) == {"p"}
    assert LineBook(database).find("p.dock").state == DROPPED
    with database.read() as connection:
        assert counts.of_line(connection, "p").num_waiting == 8
        assert moves.free_name(moves.lines_of(connection), "p") == "g3"
    with pytest.raises(DataError, match="was dropped"), database.write() as connection:
        moves.move(connection, ("d0",), "p.dock", ORDER)
    with pytest.raises(DataError, match="had, a group"):
        split(database)
