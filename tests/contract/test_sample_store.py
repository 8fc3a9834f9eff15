"""What the cloud's state promises, on a SQLite file and in memory alike."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import pytest
from sqlalchemy import insert, update

from driftline_cloud.intake import tables
from driftline_cloud.intake.admission import Quota
from driftline_cloud.intake.counts import DROPPED, USED, WAITING
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.devices import DeviceRegister
from driftline_cloud.intake.store import SampleStore
from driftline_cloud.jobs import Label
from driftline_cloud.rounds.ledger import HOLDOUT, TRAIN, RoundLedger
from driftline_cloud.rounds.round import Round, RoundState, advance, new_round
from driftline_cloud.rounds.shares import Shares
from driftline_shared.errors import ConfigError, Reason, SampleError
from driftline_shared.status import Enrolment, UpdateOutcome, UpdateReport
from driftline_shared.tokens import Sample, SamplingPolicy, TokenSpace
from driftline_shared.wire import EncodedSample, dump_sample
from tests.fakes.cloud import bare_pair, make_sample
from tests.fakes.pictures import with_regions

GOLDEN = Path(__file__).parent / "golden" / "cloud_1.sql"
"""A cloud's state as the version before regions left it: samples 0 and 1, one label."""
LINE = "bare-0123"
NOW_S = 1_700_000_000


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> TokenSpace:
    return bare_pair(Path(tmp_path_factory.mktemp("pair"))).token_space


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path / 'cloud.sqlite'}"


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    found = Database(url)
    yield found
    found.close()


def _add(
    database: Database,
    samples: list[Sample],
    *,
    device: str = "d1",
    quota: Quota | None = None,
    now_unix_s: int = NOW_S,
) -> dict[bytes, SampleError | bool]:
    return SampleStore(database).add(
        [EncodedSample.of(sample) for sample in samples],
        device_id=device,
        line=LINE,
        token_space="space",
        gate_score="entropy",
        quota=quota or Quota(),
        now_unix_s=now_unix_s,
    )


def _make(number: int, num_samples: int) -> Round:
    return new_round(
        line=LINE,
        number=number,
        base_seed=0,
        num_samples=num_samples,
        base_version=0,
        trigger="count",
        now_unix_s=NOW_S,
    )


def test_a_sample_is_stored_once_and_comes_back_as_it_was(database, space) -> None:
    samples = [make_sample(n, space) for n in range(5)]
    assert set(_add(database, [*samples, samples[0]]).values()) == {True}
    assert set(_add(database, samples, device="d2").values()) == {False}
    store = SampleStore(database)
    assert [s.id for s in store.load([s.id for s in reversed(samples)])] == [
        s.id for s in reversed(samples)
    ]
    (back,) = store.load([samples[3].id])
    assert back.tokens == samples[3].tokens
    assert back.question == samples[3].question
    assert store.counts(LINE).num_waiting == 5
    assert store.counts("other").num_samples == 0


def test_two_streams_at_once_store_each_sample_once(database, space) -> None:
    samples = [make_sample(n, space) for n in range(30)]
    verdicts: list[object] = []

    def push() -> None:
        for start in range(0, 30, 3):
            try:
                verdicts.extend(_add(database, samples[start : start + 3]).values())
            except SampleError as error:
                verdicts.append(error.reason)

    threads = [threading.Thread(target=push) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert verdicts.count(True) == 30
    assert SampleStore(database).counts(LINE).num_samples == 30


def test_quota_is_per_device_and_day_and_spares_the_rest(database, space) -> None:
    samples = [make_sample(n, space) for n in range(6)]
    quota = Quota(day_samples=2)
    verdicts = list(_add(database, samples[:3], quota=quota).values())
    assert verdicts[:2] == [True, True]
    assert isinstance(verdicts[2], SampleError)
    assert verdicts[2].reason is Reason.QUOTA_EXCEEDED
    assert _add(database, [samples[3]], device="d2", quota=quota) == {samples[3].id: True}
    assert _add(database, [samples[0]], quota=quota) == {samples[0].id: False}
    tomorrow = NOW_S + 86_400
    assert _add(database, [samples[2]], quota=quota, now_unix_s=tomorrow) == {samples[2].id: True}


def test_drift_is_counted_among_waiting_samples(database, space) -> None:
    _add(database, [make_sample(n, space, entropy=n / 10) for n in range(10)])
    counts = SampleStore(database).counts(LINE, drift_threshold=0.65)
    assert (counts.num_waiting, counts.num_drifted) == (10, 3)
    assert counts.oldest_waiting_unix_s == NOW_S


def test_labels_are_kept_by_teacher(database) -> None:
    store = SampleStore(database)
    label = Label(sample_id=b"a" * 16, text="yes", tokens=(5, 2), confidence=0.75)
    store.put_labels([label, label], teacher="t1")
    store.put_labels([replace(label, text="no")], teacher="t1")
    store.put_labels([replace(label, text="no")], teacher="t2")
    assert store.labels([b"a" * 16, b"b" * 16], teacher="t1") == {b"a" * 16: label}
    assert store.labels([b"a" * 16], teacher="t2")[b"a" * 16].text == "no"


def test_a_line_has_one_open_round_and_claims_the_oldest(database, space) -> None:
    samples = [make_sample(n, space) for n in range(8)]
    _add(database, samples)
    ledger = RoundLedger(database)
    round_ = ledger.open(LINE, Shares(most_samples=5), make=_make)
    assert round_ is not None
    assert (round_.number, round_.num_samples) == (1, 5)
    assert ledger.open(LINE, Shares(most_samples=5), make=_make) is None
    assert ledger.claimed(round_.id) == [s.id for s in samples[:5]]
    assert ledger.open_round(LINE) == round_
    # What the check above promises holds in the database itself, too.
    with pytest.raises(Exception, match="UNIQUE"), database.write() as connection:
        connection.execute(
            insert(tables.rounds).from_select(
                [c.name for c in tables.rounds.columns], _copy_of(round_.id)
            )
        )
    ledger.save(advance(round_, RoundState.FAILED, now_unix_s=NOW_S, reason="x"))
    assert ledger.open_round(LINE) is None
    assert SampleStore(database).counts(LINE).num_waiting == 8
    again = ledger.open(LINE, Shares(most_samples=100), make=_make)
    assert again is not None
    assert (again.number, again.num_samples) == (2, 8)
    assert ledger.count(LINE) == 2


def _copy_of(round_id: str):
    from sqlalchemy import literal, select

    columns = [literal("twin") if c.name == "id" else c for c in tables.rounds.columns]
    columns = [literal(99) if getattr(c, "name", "") == "number" else c for c in columns]
    return select(*columns).where(tables.rounds.c.id == round_id)


def test_nothing_waiting_opens_no_round(database) -> None:
    ledger = RoundLedger(database)
    assert ledger.open(LINE, Shares(most_samples=5), make=_make) is None
    assert ledger.count(LINE) == 0


def test_parts_keep_their_order_and_older_rounds_are_found(database, space) -> None:
    samples = [make_sample(n, space) for n in range(6)]
    _add(database, samples)
    ids = [s.id for s in samples]
    ledger = RoundLedger(database)
    first = ledger.open(LINE, Shares(most_samples=4), make=_make)
    assert first is not None
    ledger.save_parts(first.id, {TRAIN: ids[:3]})
    ledger.save_parts(first.id, {TRAIN: [ids[2], ids[0]], HOLDOUT: [ids[1], ids[3]]})
    parts = ledger.parts(first.id)
    assert (parts[TRAIN], parts[HOLDOUT]) == ([ids[2], ids[0]], [ids[1], ids[3]])
    assert ledger.older(LINE, before=first.number, part=TRAIN) == {}
    found = ledger.older(LINE, before=first.number + 1, part=TRAIN)
    assert {name: sorted(some) for name, some in found.items()} == {first.id: sorted(parts[TRAIN])}


def test_retention_drops_bytes_but_still_knows_the_id(database, space) -> None:
    samples = [make_sample(n, space) for n in range(6)]
    _add(database, samples)
    RoundLedger(database).open(LINE, Shares(most_samples=5), make=_make)
    store = SampleStore(database)
    assert store.drop_used(LINE, keep=2) == 3
    assert store.drop_used(LINE, keep=2) == 0
    states = store.states([s.id for s in samples])
    assert [states[s.id] for s in samples] == [DROPPED] * 3 + [USED] * 2 + [WAITING]
    with pytest.raises(SampleError, match="gone"):
        store.load([samples[0].id])
    assert _add(database, [samples[0]]) == {samples[0].id: False}


def test_devices_reports_and_policy(database) -> None:
    register = DeviceRegister(database)
    enrolment = Enrolment(
        device_id="d1", pair="bare", token_space="s", base_model="b", adapter_version=0
    )
    assert register.find("d1") is None
    register.enrol(enrolment, LINE, now_unix_s=NOW_S)
    device = register.enrol(replace(enrolment, adapter_version=3), LINE, now_unix_s=NOW_S + 5)
    assert (device.enrolled_unix_s, device.last_seen_unix_s) == (NOW_S, NOW_S + 5)
    report = UpdateReport(
        version=4, outcome=UpdateOutcome.FAILED, reason="probe_too_slow", numbers={"ms": 9.0}
    )
    register.add_report(device, report, adapter_version=3, now_unix_s=NOW_S + 9)
    assert register.reports("d1") == [report]
    (status,) = register.of_line(LINE)
    assert (status.adapter_version, status.last_report) == (3, "failed 4: probe_too_slow")

    policy = SamplingPolicy(token_share=0.5)
    assert register.put_policy(LINE, policy).revision == 1
    assert register.put_policy(LINE, replace(policy, revision=77)).revision == 1
    assert register.put_policy(LINE, replace(policy, token_share=0.25)).revision == 2


def test_state_outlives_the_process_and_a_newer_schema_is_refused(tmp_path, space) -> None:
    url = f"sqlite:///{tmp_path / 'cloud.sqlite'}"
    database = Database(url)
    _add(database, [make_sample(1, space)])
    cloud_id = database.cloud_id
    database.close()
    database = Database(url)
    assert database.cloud_id == cloud_id
    assert SampleStore(database).counts(LINE).num_samples == 1
    with database.write() as connection:
        connection.execute(update(tables.schema).values(version=tables.SCHEMA_VERSION + 1))
    database.close()
    with pytest.raises(ConfigError, match="the database has schema"):
        Database(url)


def test_regions_are_stored_counted_and_given_back(database, space) -> None:
    plain, pictured = make_sample(1, space), with_regions(make_sample(2, space))
    assert pictured.regions is not None
    limit = len(dump_sample(plain)) + len(dump_sample(pictured))
    quota = Quota(day_bytes=limit)
    assert set(_add(database, [plain, pictured], quota=quota).values()) == {True}
    assert SampleStore(database).load([plain.id, pictured.id]) == [
        replace(plain, scores=ANY), replace(pictured, scores=ANY)
    ]  # fmt: skip
    verdicts = _add(database, [make_sample(3, space)], quota=quota)
    assert [str(error.reason) for error in verdicts.values()] == ["quota_exceeded"]


def test_a_state_of_before_regions_goes_on(tmp_path, space) -> None:
    path = tmp_path / "cloud.sqlite"
    with sqlite3.connect(path) as old:
        old.executescript(GOLDEN.read_text())
    old.close()
    database = Database(f"sqlite:///{path}")
    store = SampleStore(database)
    before = [make_sample(n, space) for n in (0, 1)]
    found = store.load([sample.id for sample in before])
    assert [(one.tokens, one.regions) for one in found] == [(s.tokens, None) for s in before]
    assert [label.text for label in store.labels([before[0].id], teacher="t").values()] == ["a"]
    pictured = with_regions(make_sample(5, space))
    assert _add(database, [before[0], pictured]) == {before[0].id: False, pictured.id: True}
    assert store.load([pictured.id])[0].regions == pictured.regions
    database.close()


@pytest.mark.parametrize(
    "url", ["nonsense", "nosuchdb://host/x", "sqlite:////no/such/folder/here.sqlite"]
)
def test_a_wrong_url_says_so(url: str) -> None:
    with pytest.raises(ConfigError):
        Database(url)


def test_a_write_that_fails_half_way_leaves_nothing(database, space) -> None:
    with pytest.raises(RuntimeError), database.write() as connection:
        connection.execute(
            insert(tables.usage).values(device_id="d", day=1, num_samples=1, num_bytes=1)
        )
        raise RuntimeError
    with database.read() as connection:
        assert connection.execute(tables.usage.select()).all() == []
