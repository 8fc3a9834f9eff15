"""One state folder serves a database; a copy of it is told from it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftline_cloud.identity import bind
from driftline_cloud.intake.database import Database
from driftline_cloud.serving import Serving, why_not_served
from driftline_cloud.state import StateFolder
from driftline_shared.errors import ConfigError, Reason
from tests.fakes.clock import FakeClock

LEASE_S = 15.0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(f"sqlite:///{tmp_path / 'cloud.sqlite'}")
    yield found
    found.close()


@pytest.fixture
def folders(tmp_path: Path, database: Database) -> tuple[StateFolder, StateFolder]:
    """The folder that the database knows, and the place of a copy of it."""
    (tmp_path / "one").mkdir()
    first = StateFolder(tmp_path / "one")
    bind(database, first)
    return first, StateFolder(tmp_path / "two")


def _serving(database: Database, state: StateFolder, clock: FakeClock) -> Serving:
    return Serving(database, state, clock=clock, lease_s=LEASE_S)


def _copy(source: StateFolder, target: StateFolder) -> None:
    shutil.copytree(source.path, target.path)


def _foreign(database: Database, state: StateFolder) -> str:
    return why_not_served(database, state, lease_s=LEASE_S)


class BesideOne(FakeClock):
    """While one waits by this clock, `beside` lives: it renews in its turn."""

    def __init__(self, beside: Serving, others: FakeClock) -> None:
        super().__init__()
        self._beside, self._others = beside, others

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self._others.advance(LEASE_S / 3)
        self._beside.begin(threading.Event())
        return super().wait(event, seconds)


def test_a_copy_is_refused_while_the_first_one_lives(
    database: Database, folders: tuple[StateFolder, StateFolder]
) -> None:
    first, copy = folders
    other = FakeClock()
    serving = _serving(database, first, other)
    serving.begin(threading.Event())
    _copy(first, copy)
    bind(database, copy)  # its identity is the same

    clock = BesideOne(serving, other)
    with pytest.raises(ConfigError, match="served by another cloud, which lives") as caught:
        _serving(database, copy, clock).begin(threading.Event())
    assert caught.value.reason is Reason.STATE_IN_USE
    assert str(first.path) in str(caught.value)
    assert _foreign(database, first) == ""


def test_a_copy_takes_over_from_one_that_was_killed_and_its_worker_stops(
    database: Database, folders: tuple[StateFolder, StateFolder]
) -> None:
    first, copy = folders
    clock = FakeClock()
    killed = _serving(database, first, clock)
    killed.begin(threading.Event())
    _copy(first, copy)
    assert _foreign(database, first) == ""
    second = _serving(database, copy, clock)
    began_s = clock.monotonic_s()
    second.begin(threading.Event())
    assert clock.monotonic_s() - began_s == pytest.approx(LEASE_S, abs=0.5)
    assert _foreign(database, copy) == ""
    assert "is a copy" in _foreign(database, first)
    # The one that was thought dead wakes up: it is told, once, and stops.
    lost: list[str] = []
    killed.keep(threading.Event(), lost.append)
    assert [str(copy.path) in owner for owner in lost] == [True]


def test_the_same_folder_starts_at_once_and_so_does_a_copy_after_an_orderly_end(
    database: Database, folders: tuple[StateFolder, StateFolder]
) -> None:
    first, copy = folders
    clock = FakeClock()
    _serving(database, first, clock).begin(threading.Event())
    again = _serving(database, first, clock)
    again.begin(threading.Event())
    again.end()
    _copy(first, copy)
    _serving(database, copy, clock).begin(threading.Event())
    assert clock.monotonic_s() == FakeClock().monotonic_s()


def test_a_worker_on_a_copy_falls_behind(
    database: Database, folders: tuple[StateFolder, StateFolder]
) -> None:
    first, copy = folders
    clock = FakeClock()
    assert _foreign(database, first) == ""  # nothing ever served: a worker may be first
    serving = _serving(database, first, clock)
    serving.begin(threading.Event())
    _copy(first, copy)
    for _ in range(4):
        clock.advance(LEASE_S / 3)
        serving.begin(threading.Event())
    assert _foreign(database, first) == ""
    assert "is a copy, 20 s behind" in _foreign(database, copy)
    (copy.path / "serving.json").unlink()
    assert "no cloud has served" in _foreign(database, copy)


def test_who_is_told_to_stop_while_it_waits_does_not_serve(
    database: Database, folders: tuple[StateFolder, StateFolder]
) -> None:
    first, copy = folders
    clock = FakeClock()
    _serving(database, first, clock).begin(threading.Event())
    _copy(first, copy)
    told = threading.Event()
    told.set()
    _serving(database, copy, clock).begin(told)
    assert not (_foreign(database, first))
