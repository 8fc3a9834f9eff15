"""Counters are what counting gives, whatever happens to samples; a round is shared evenly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from driftline_cloud.intake import counts
from driftline_cloud.intake.admission import Quota
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.quarantine import Fault, Quarantine
from driftline_cloud.intake.store import SampleStore
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.rounds.round import Round, RoundState, advance, new_round
from driftline_cloud.rounds.shares import Shares
from driftline_shared.errors import Reason, SampleError
from driftline_shared.tokens import TokenSpace
from driftline_shared.wire import EncodedSample
from tests.fakes.cloud import bare_pair, make_sample

LINE = "line"


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> TokenSpace:
    return bare_pair(Path(tmp_path_factory.mktemp("pair"))).token_space


@pytest.fixture
def database() -> Iterator[Database]:
    opened = Database("sqlite://")
    yield opened
    opened.close()


def _send(
    database: Database,
    space: TokenSpace,
    numbers: Sequence[int],
    device_id: str = "d1",
    quota: Quota | None = None,
) -> list[SampleError | bool]:
    samples = [EncodedSample.of(make_sample(number, space)) for number in numbers]
    verdicts = SampleStore(database).add(
        samples,
        device_id=device_id,
        line=LINE,
        token_space=space.digest,
        gate_score="entropy",
        quota=quota or Quota(),
        now_unix_s=1_700_000_000,
    )
    return [verdicts[one.id] for one in samples]


def _open(database: Database, most: int) -> Round:
    round_ = RoundLedger(database).open(
        LINE,
        Shares(most_samples=most),
        make=lambda number, num: new_round(
            line=LINE,
            number=number,
            base_seed=0,
            num_samples=num,
            base_version=0,
            trigger="count",
            now_unix_s=0.0,
        ),
    )
    assert round_ is not None
    return round_


def _owners(database: Database, round_: Round) -> list[str]:
    from sqlalchemy import select

    from driftline_cloud.intake import tables

    with database.read() as connection:
        query = select(tables.samples.c.device_id).where(tables.samples.c.round_id == round_.id)
        return sorted(connection.execute(query).scalars())


def test_counters_follow_every_change_of_state(database: Database, space: TokenSpace) -> None:
    store, ledger, quarantine = SampleStore(database), RoundLedger(database), Quarantine(database)
    _send(database, space, range(10))
    _send(database, space, range(5, 12), "d2")
    first = _open(database, 4)
    ids = ledger.claimed(first.id)
    quarantine.put([Fault(sample_id=ids[0], reason="r", detail="")], round_id="r", now_unix_s=1)
    quarantine.put([Fault(sample_id=ids[0], reason="r", detail="")], round_id="r", now_unix_s=1)
    ledger.save(advance(first, RoundState.FAILED, now_unix_s=2.0))
    second = _open(database, 6)
    assert len(ledger.claimed(second.id)) == 6
    assert store.drop_used(LINE, keep=2) == 4
    with database.read() as connection:
        assert counts.recount(connection) == []
        found = counts.of_line(connection, LINE)
    assert found == counts.Counts(num_samples=12, num_waiting=5, num_quarantined=1)
    assert quarantine.release(ids[:1]) == 1
    with database.read() as connection:
        assert counts.recount(connection) == []
        assert counts.of_line(connection, LINE).num_waiting == 6
    assert store.counts(LINE).num_quarantined == 0


def test_a_round_takes_as_many_of_each_device(database: Database, space: TokenSpace) -> None:
    _send(database, space, range(30), "loud")
    _send(database, space, range(30, 33), "quiet")
    _send(database, space, range(33, 50), "other")
    round_ = _open(database, 12)
    owners = _owners(database, round_)
    assert {one: owners.count(one) for one in owners} == {"loud": 5, "other": 4, "quiet": 3} or {
        one: owners.count(one) for one in owners
    } == {"loud": 4, "other": 5, "quiet": 3}


def test_who_comes_late_to_a_full_queue_has_its_share(
    database: Database, space: TokenSpace
) -> None:
    quota = Quota(waiting_samples=8)
    loud = _send(database, space, range(12), "loud", quota)
    assert [one is True for one in loud] == [True] * 8 + [False] * 4
    late = _send(database, space, range(20, 26), "late", quota)
    assert [one is True for one in late] == [True] * 4 + [False] * 2
    refused = late[-1]
    assert isinstance(refused, SampleError) and refused.reason is Reason.STORE_BUSY
    assert not any(one is True for one in _send(database, space, range(30, 32), "loud", quota))


def test_the_same_id_twice_in_a_batch_is_stored_once(database: Database, space: TokenSpace) -> None:
    _send(database, space, [1, 1, 2])
    with database.read() as connection:
        assert counts.of_line(connection, LINE).num_samples == 2
