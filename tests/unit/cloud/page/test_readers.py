"""What pages read of a cloud's database, and that they cannot write there."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import OperationalError

from driftline_cloud.corrections.settings import EscalationSettings
from driftline_cloud.corrections.store import CorrectionStore
from driftline_cloud.intake import counts, tables
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.devices import DeviceRegister
from driftline_cloud.intake.migrations import schema
from driftline_cloud.page.fleet import FleetReader
from driftline_cloud.page.lines import LineReader
from driftline_cloud.page.values import Asked
from driftline_cloud.rounds.board import BLOCKED, IDLE, Board
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.rounds.round import Round, RoundState
from driftline_cloud.rounds.shares import Shares
from driftline_shared.errors import ConfigError
from driftline_shared.status import Enrolment, UpdateOutcome, UpdateReport
from tests.fakes.clock import FakeClock

LINE = "tiny-1"
NOW_S = 1_700_000_000


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'cloud.sqlite'}"


@pytest.fixture
def database(url: str) -> Database:
    return Database(url)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW_S)


def enrol(database: Database, name: str, version: int = 0, line: str = LINE) -> DeviceRegister:
    register = DeviceRegister(database)
    register.enrol(
        Enrolment(
            device_id=name, pair="tiny", token_space="t", base_model="b", adapter_version=version
        ),
        line,
        now_unix_s=NOW_S - 60,
    )
    return register


def end_round(database: Database, number: int, state: RoundState = RoundState.DONE) -> Round:
    with database.write() as connection:
        counts.add(connection, LINE, {"d1": 1})
        connection.execute(
            insert(tables.samples).values(
                id=number.to_bytes(16, "big"),
                device_id="d1",
                line=LINE,
                token_space="t",
                state="waiting",
                received_unix_s=1,
                num_bytes=1,
                body=b"x",
            )
        )
    one = Round(
        id=f"{LINE}-r{number:04d}",
        line=LINE,
        number=number,
        seed=1,
        state=state,
        num_samples=1,
        target_version=number,
        numbers={"update.update_bytes": 7_000.0},
        created_unix_s=NOW_S - 100 + number,
        changed_unix_s=NOW_S - 50 + number,
        reason="why it is so",
    )
    opened = RoundLedger(database).open(LINE, Shares(most_samples=5), make=lambda _n, _s: one)
    assert opened is not None
    return one


def test_a_page_reads_what_is_there_and_writes_nothing(url: str, database: Database) -> None:
    enrol(database, "d1")
    read_only = Database(url, read_only=True)
    assert LineReader(read_only, FakeClock(NOW_S)).names() == [LINE]
    with pytest.raises(OperationalError, match="readonly"), read_only.write() as connection:
        connection.execute(insert(tables.policies).values(line="x", revision=1, policy={}))
    read_only.close()


def test_an_older_schema_is_left_as_it_is(
    url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "SCHEMA_VERSION", tables.SCHEMA_VERSION + 1)
    with pytest.raises(ConfigError, match="this driftline reads"):
        Database(url, read_only=True)
    with database.read() as connection:
        assert schema.version_of(connection) == tables.SCHEMA_VERSION - 1


def test_a_line_says_what_holds_it(database: Database, clock: FakeClock) -> None:
    enrol(database, "d1")
    reader = LineReader(database, clock)
    assert "No worker" in reader.line(LINE).held[0]
    board = Board(database=database, line=LINE, clock=clock)
    board.say("w1", BLOCKED, "Ray is away")
    assert reader.line(LINE).held == ("Worker w1 is blocked: Ray is away.",)
    board.say("w2", IDLE)
    assert reader.line(LINE).held == ()
    end_round(database, 1, RoundState.FAILED)
    assert reader.line(LINE).held == ("Round 1 failed: why it is so",)


@pytest.mark.parametrize(("state", "says"), [("paused", "line resume"), ("dropped", "line add")])
def test_a_line_that_its_operator_stopped_says_so_and_asks_for_no_worker(
    database: Database, clock: FakeClock, state: str, says: str
) -> None:
    enrol(database, "d1")
    row = {"id": LINE, "pair": "p", "pair_name": "p", "base_model": "b", "token_space": "t"}
    times = {"added_unix_s": 0, "changed_unix_s": 0}
    with database.write() as connection:
        connection.execute(insert(tables.lines).values(**row, **times, state=state))
    line = LineReader(database, clock).line(LINE)
    assert line.state == state
    (held,) = line.held
    assert says in held and "worker" not in held.lower()


def test_lines_that_are_held_come_first(database: Database, clock: FakeClock) -> None:
    enrol(database, "d1", line="a-line")
    enrol(database, "d2", line="b-line")
    Board(database=database, line="a-line", clock=clock).say("w", IDLE)
    assert [one.line for one in LineReader(database, clock).lines()] == ["b-line", "a-line"]


def test_rounds_are_paged_and_versions_tell_what_they_weigh(
    database: Database, clock: FakeClock
) -> None:
    enrol(database, "d1", version=2)
    for number in (1, 2, 3):
        end_round(database, number)
    reader = LineReader(database, clock)
    assert [one.number for one in reader.rounds(Asked(limit=2))] == [3, 2]
    assert [one.number for one in reader.rounds(Asked(limit=2, offset=2))] == [1]
    assert (reader.num_rounds(Asked()), reader.num_rounds(Asked(line="none"))) == (3, 0)
    assert reader.rounds(Asked(line="another")) == ()
    found = reader.round(f"{LINE}-r0002")
    assert found is not None and found.seconds == 50
    versions = reader.versions(Asked(line=LINE))
    assert [(one.version, one.update_bytes, one.num_devices) for one in versions] == [
        (3, 7_000, 0),
        (2, 7_000, 1),
        (1, 7_000, 0),
    ]


def test_devices_are_searched_as_they_are_written_and_stuck_ones_come_first(
    database: Database, clock: FakeClock
) -> None:
    for name in ("cam_1", "cam%2", "door"):
        register = enrol(database, name)
    bad = register.find("door")
    assert bad is not None
    report = UpdateReport(version=1, outcome=UpdateOutcome.ROLLED_BACK, reason="internal")
    register.add_report(bad, report, adapter_version=0, now_unix_s=NOW_S)
    reader = FleetReader(database, clock)
    total, found = reader.devices(Asked(limit=2))
    assert total == 3
    assert [one.device_id for one in found] == ["door", "cam%2"]
    assert found[0].held.startswith("Update 1 rolled back.")
    assert [one.device_id for one in reader.devices(Asked(search="m%"))[1]] == ["cam%2"]
    detail = reader.device("door")
    assert detail is not None
    assert [one.outcome for one in detail.reports] == ["rolled_back"]
    assert reader.device("nobody") is None


def test_who_waits_for_the_teacher_is_counted_and_the_longest_named(
    database: Database, clock: FakeClock
) -> None:
    end_round(database, 1)
    store = CorrectionStore(database, EscalationSettings())
    store.ask("d1", [(1).to_bytes(16, "big")], now_unix_s=NOW_S - 30)
    found = FleetReader(database, clock).corrections()
    assert (found.num_waiting, found.oldest_unix_s) == (1, NOW_S - 30)
    assert found.devices == (("d1", 1, NOW_S - 30),)
