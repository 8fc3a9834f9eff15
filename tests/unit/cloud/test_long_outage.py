"""Whatever a loop of the cloud meets again and again, its log stays short: once with the cause,
once an hour, once when it is over.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog

from driftline_cloud.config import load_config
from driftline_cloud.corrections.answering import Answerer
from driftline_cloud.corrections.settings import EscalationSettings
from driftline_cloud.rounds.retention import Retention, RetentionSettings
from driftline_cloud.rounds.settings import WorkSettings
from driftline_cloud.service import server, supervisors
from driftline_cloud.service.assembly import WholeCloud
from driftline_cloud.service.supervisor import Supervisor
from driftline_cloud.service.supervisors import Supervisors
from driftline_cloud.serving import Serving
from driftline_cloud.state import StateFolder
from driftline_cloud.work import program
from driftline_cloud.work.program import Worker
from driftline_shared.callbacks import ignore
from driftline_shared.errors import SampleError
from driftline_shared.program.repeats import RepeatLimit
from driftline_shared.status import Enrolment
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers, bare_pair, fake_makers
from tests.fakes.failing_database import FULL, FailingDatabase
from tests.fakes.rounds import open_cloud, send

MANY = 300


class Log:
    """Every line that the log's limit lets through."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self._limit = RepeatLimit()

    def __call__(self, logger: object, method: str, line: Any) -> Any:
        self.lines.append(dict(self._limit(logger, method, line)))
        raise structlog.DropEvent

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]


@pytest.fixture
def log() -> Iterator[Log]:
    before, found = structlog.get_config(), Log()
    structlog.configure(processors=[found])
    yield found
    structlog.configure(**before)


class Rig:
    """A cloud over a database that fails for `MANY` waits, and then no more."""

    def __init__(self, folder: Path) -> None:
        self.stop = threading.Event()
        self.num_waits = 0
        self.clock = Counting(self)
        self.databases: list[FailingDatabase] = []

        def opened(url: str) -> FailingDatabase:
            self.databases.append(FailingDatabase(url, durable=False))
            return self.databases[-1]

        self.folder = folder
        self.cloud: WholeCloud = open_cloud(
            folder / "state", ReckoningWorkers(), self.clock, database=opened
        )

    @property
    def database(self) -> FailingDatabase:
        return self.databases[0]

    def fail(self) -> None:
        self.database.fails_reads, self.database.fault = True, FULL

    def looked(self) -> None:
        """After a failed try; ends the outage after many, and a little later everything."""
        self.num_waits += 1
        if self.num_waits == MANY:
            self.database.fault = ""
        if self.num_waits == MANY + 3:
            self.stop.set()


class Counting(FakeClock):
    """Does not let an hour pass, however often it is waited on."""

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self._rig = rig

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self._rig.looked()
        self.advance(0.01)
        return event.is_set()


def _coordinator(rig: Rig) -> None:
    rig.cloud.coordinator.run(rig.stop)


def _answers(rig: Rig) -> None:
    cloud = rig.cloud
    Answerer(
        cloud.corrections,
        cloud.store,
        make_teacher=ReckoningWorkers,
        line=cloud.line,
        teacher="t",
        settings=EscalationSettings(),
        clock=rig.clock,
    ).run(rig.stop)


def _retention(rig: Rig) -> None:
    Retention(database=rig.database, settings=RetentionSettings(), clock=rig.clock).run(rig.stop)


def _serving(rig: Rig) -> None:
    state = StateFolder(rig.folder / "state")
    Serving(rig.database, state, clock=rig.clock, lease_s=15.0).keep(rig.stop, ignore)


def _rollouts(rig: Rig) -> None:
    while not rig.stop.is_set():
        rig.cloud.keeper.try_step(rig.cloud.first)
        rig.looked()


def _samples(rig: Rig) -> None:
    rig.database.fails_reads = False
    while not rig.stop.is_set():
        with suppress(SampleError):
            send(rig.cloud, [rig.num_waits])
        rig.cloud.unknown.note(
            Enrolment(
                device_id=f"d{rig.num_waits}",
                pair="p",
                token_space="t",
                base_model="b",
                adapter_version=0,
            ),
            now_unix_s=rig.num_waits,
        )
        rig.looked()


@pytest.mark.parametrize(
    ("run", "begins", "ends"),
    [
        (_coordinator, "coordinator.step_failed", "coordinator.works_again"),
        (_answers, "answers.step_failed", "answers.work_again"),
        (_retention, "retention.failed", "retention.works_again"),
        (_serving, "serving.not_renewed", "serving.renewed_again"),
        (_rollouts, "rollout.step_failed", "rollout.steps_again"),
        (_samples, "store.write_failed", "store.writes_again"),
    ],
)
def test_a_database_that_is_full_for_long_is_told_once_and_so_is_its_end(
    tmp_path: Path, log: Log, run: Callable[[Rig], None], begins: str, ends: str
) -> None:
    rig = Rig(tmp_path)
    rig.fail()
    run(rig)
    assert rig.num_waits >= MANY
    told_of = [(one["event"], one.get("what")) for one in log.lines]
    once = list(dict.fromkeys(one for one in told_of if one[0] in (begins, ends)))
    assert [one for one in told_of if one[0] in (begins, ends)] == once
    assert once[0][0] == begins and once[-1][0] == ends
    told = next(line for line in log.lines if line["event"] == begins)
    assert "cloud.sqlite" in told["cause"] and "Free space" in told["fix"]
    assert len(log.lines) < 10, log.events()
    rig.cloud.close()


def test_who_serves_and_who_keeps_workers_say_it_once(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path)
    monkeypatch.setattr(server, "_LOOK_S", 0.0)
    monkeypatch.setattr(server, "_GAUGES_S", 0.0)
    monkeypatch.setattr(supervisors, "LOOK_S", 0.001)

    async def serve() -> None:
        stop = asyncio.Event()
        looked = rig.cloud.lines.refresh

        def refresh() -> None:
            rig.looked()
            if rig.stop.is_set():
                stop.set()
            looked()

        monkeypatch.setattr(rig.cloud.lines, "refresh", refresh)
        await server._until(stop, rig.cloud)

    config = load_config(None, {"state": tmp_path / "state"}, environment={})
    keeps = Supervisors(
        [sys.executable, "-c", "input()"],
        config=config,
        database=rig.database,
        owner="o",
        clock=rig.clock,
    )
    rig.fail()
    working = threading.Thread(target=keeps.run, args=(rig.stop,))
    working.start()
    asyncio.run(serve())
    working.join(30)
    for begins, ends in (
        ("serving.look_failed", "serving.looks_again"),
        ("work.lines_not_read", "work.lines_read_again"),
    ):
        assert [one for one in log.events() if one in (begins, ends)][:2] == [begins, ends]
    assert len(log.lines) < 12, log.events()
    rig.cloud.close()


def test_a_cluster_that_is_away_for_long_is_told_once(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    halt = threading.Event()

    def away(_address: str) -> str:
        nonlocal looks
        looks += 1
        return "no Ray cluster answers at 10.0.0.5:6379" if looks < MANY else ""

    def works(self: Worker, *_: object) -> None:
        halt.set()

    monkeypatch.setattr(program, "AWAY_S", 0.0)
    monkeypatch.setattr(program, "why_away", away)
    monkeypatch.setattr(Worker, "_drive", works)
    pair = bare_pair(tmp_path / "pair")
    Worker(
        config=load_config(None, {"state": tmp_path / "state"}, environment={}),
        makers=fake_makers(ReckoningWorkers(), lambda _name: pair),
        owner="w",
    ).run(halt)
    assert looks == MANY
    events = log.events()
    assert (events.count("work.start_failed"), events.count("work.starts_again")) == (1, 1)
    assert len(events) < 8, events


_CHILD = """
from driftline_shared.program.logs import setup_logs
import structlog
setup_logs(limit_repeats=True)
log = structlog.get_logger()
log.info("work.state", state="starting")
try:
    raise ValueError("the model does not load")
except ValueError as error:
    log.error("work.failed", exc_info=error)
raise SystemExit(1)
"""


def test_a_process_that_ends_at_every_start_says_why_once(
    log: Log, capfd: pytest.CaptureFixture[str]
) -> None:
    halt, ends = threading.Event(), []

    def say(state: str, reason: str) -> None:
        ends.append((state, reason))
        if len(ends) == 4:
            halt.set()

    Supervisor(
        [sys.executable, "-c", _CHILD],
        feed=b"\n",
        say=say,
        settings=WorkSettings(restart_s=0.001, most_restart_s=0.001),
        grace_s=5.0,
    ).run(halt)
    said = capfd.readouterr().err
    assert (said.count("the model does not load"), said.count("starting")) == (1, 1)
    assert log.events() == ["work.started", "work.ended"]
    assert len(ends) == 4
