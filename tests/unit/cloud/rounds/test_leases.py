"""A lease: one owner at a time, and no save by one that lost it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from driftline_cloud.intake.database import Database
from driftline_cloud.rounds.leases import Lease, LeaseLostError
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.rounds.round import new_round
from tests.fakes.clock import FakeClock

LINE = "bare-0123"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(f"sqlite:///{tmp_path / 'cloud.sqlite'}")
    yield found
    found.close()


def _lease(database: Database, owner: str, clock: FakeClock) -> Lease:
    return Lease(database, LINE, owner=owner, clock=clock, lease_s=15.0)


def test_one_worker_holds_it_and_another_goes_on_at_its_end(database: Database) -> None:
    clock = FakeClock()
    first, second = _lease(database, "a", clock), _lease(database, "b", clock)
    assert first.hold()
    assert not second.hold()
    clock.sleep(10.0)
    assert first.hold()  # renewed: its end moves
    clock.sleep(10.0)
    assert not second.hold()
    clock.sleep(5.1)
    assert second.hold()
    assert not first.hold()
    assert (first.is_held, second.is_held) == (False, True)


def test_what_is_let_go_or_of_the_same_name_is_taken_at_once(database: Database) -> None:
    clock = FakeClock()
    first, second = _lease(database, "a", clock), _lease(database, "b", clock)
    assert first.hold()
    first.release()
    assert second.hold()
    restarted = _lease(database, "b", clock)
    assert restarted.hold()
    with pytest.raises(LeaseLostError), database.write() as connection:
        second.check(connection)


def test_who_wakes_up_late_saves_nothing(database: Database) -> None:
    clock = FakeClock()
    late, present = _lease(database, "a", clock), _lease(database, "b", clock)
    assert late.hold()
    clock.sleep(16.0)
    assert present.hold()
    assert late.is_held  # it has not looked yet
    ledger = RoundLedger(database, fence=late.check)
    round_ = new_round(
        line=LINE, number=1, base_seed=0, num_samples=2, base_version=0, trigger="t", now_unix_s=1.0
    )
    with pytest.raises(LeaseLostError):
        ledger.save(round_)
    with pytest.raises(LeaseLostError):
        ledger.save_parts(round_.id, {})
    with pytest.raises(LeaseLostError):
        ledger.add_version(LINE, 1, round_id=round_.id, digest="00", now_unix_s=1)
    assert not late.is_held
    assert ledger.versions(LINE) == {}
    RoundLedger(database, fence=present.check).guard()
