"""Who waits for the teacher: bounded, of the device's own samples, delivered until it is seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from driftline_cloud.corrections.settings import EscalationSettings
from driftline_cloud.corrections.store import CorrectionCounts, CorrectionStore
from driftline_cloud.intake.admission import Quota
from driftline_cloud.intake.database import Database
from driftline_cloud.intake.store import SampleStore
from driftline_cloud.jobs import Label
from driftline_shared.bounds import MAX_CORRECTIONS
from driftline_shared.errors import Reason
from driftline_shared.status import Correction
from driftline_shared.tokens import TokenSpace
from driftline_shared.wire import EncodedSample
from tests.fakes.cloud import bare_pair, make_sample

NOW_S = 1_700_000_000
SETTINGS = EscalationSettings(
    max_waiting=3, max_waiting_per_device=2, max_age_s=100.0, keep_s=1_000.0
)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> TokenSpace:
    return bare_pair(Path(tmp_path_factory.mktemp("pair"))).token_space


@pytest.fixture
def database() -> Iterator[Database]:
    found = Database("sqlite://")
    yield found
    found.close()


@pytest.fixture
def store(database: Database) -> CorrectionStore:
    return CorrectionStore(database, SETTINGS)


def _send(database: Database, space: TokenSpace, numbers: range, device_id: str) -> list[bytes]:
    samples = [make_sample(number, space) for number in numbers]
    SampleStore(database).add(
        [EncodedSample.of(sample) for sample in samples],
        device_id=device_id,
        line="line",
        token_space=space.digest,
        gate_score="entropy",
        quota=Quota(),
        now_unix_s=NOW_S,
    )
    return [sample.id for sample in samples]


def _label(sample_id: bytes, text: str = "two") -> Label:
    return Label(sample_id=sample_id, text=text, tokens=(1,), confidence=0.5)


def test_an_answer_is_due_until_its_device_has_seen_it(
    database: Database, store: CorrectionStore, space: TokenSpace
) -> None:
    one, two = _send(database, space, range(2), "d1")
    assert store.ask("d1", [one, two], now_unix_s=NOW_S) == {one: None, two: None}
    assert store.due("d1") == ([], True)
    store.answer([_label(one)], teacher="t", now_unix_s=NOW_S + 1)
    expected = Correction(
        id=one, answer="two", confidence=0.5, teacher="t", answered_unix_s=NOW_S + 1
    )
    assert store.due("d1") == ([expected], True)
    assert store.due("d1", but={one}) == ([], True)
    assert store.due("d2") == ([], False)
    store.seen("d2", [one])  # not its own
    assert store.due("d1") == ([expected], True)
    store.seen("d1", [one, two])  # what is not answered cannot have been seen
    assert store.due("d1") == ([], True)
    assert store.waiting("line", 9) == [two]
    assert store.counts() == CorrectionCounts(num_waiting=1, num_answered=0)


def test_asking_again_changes_nothing_and_brings_a_seen_answer_back(
    database: Database, store: CorrectionStore, space: TokenSpace
) -> None:
    (one,) = _send(database, space, range(1), "d1")
    for _ in range(2):
        assert store.ask("d1", [one, one], now_unix_s=NOW_S) == {one: None}
    assert store.waiting("line", 9) == [one]
    store.answer([_label(one)], teacher="t", now_unix_s=NOW_S)
    store.answer([_label(one, "three")], teacher="t", now_unix_s=NOW_S)
    assert store.due("d1")[0][0].answer == "two"  # the first word stands
    store.seen("d1", [one])
    store.ask("d1", [one], now_unix_s=NOW_S)
    assert store.waiting("line", 9) == [one]


def test_nobody_gets_the_answer_to_anothers_sample(
    database: Database, store: CorrectionStore, space: TokenSpace
) -> None:
    (one,) = _send(database, space, range(1), "d1")
    assert store.ask("d2", [one, b"x" * 16], now_unix_s=NOW_S) == {
        one: Reason.ANSWER_FAILED,
        b"x" * 16: Reason.ANSWER_FAILED,
    }
    assert store.waiting("line", 9) == []


def test_what_waits_is_bounded_in_all_and_by_device(
    database: Database, store: CorrectionStore, space: TokenSpace
) -> None:
    ids = _send(database, space, range(3), "d1")
    others = _send(database, space, range(3, 6), "d2")
    full = Reason.ANSWERS_FULL
    assert list(store.ask("d1", ids, now_unix_s=NOW_S).values()) == [None, None, full]
    assert list(store.ask("d2", others, now_unix_s=NOW_S).values()) == [None, full, full]
    store.answer([_label(ids[0])], teacher="t", now_unix_s=NOW_S)
    assert store.ask("d2", [others[1]], now_unix_s=NOW_S) == {others[1]: None}


def test_a_device_that_never_comes_for_its_answers_gets_no_more(
    database: Database, space: TokenSpace
) -> None:
    store = CorrectionStore(
        database, EscalationSettings(max_waiting=1_000, max_waiting_per_device=1_000)
    )
    ids = _send(database, space, range(MAX_CORRECTIONS + 1), "d1")
    refused = [one for one, why in store.ask("d1", ids, now_unix_s=NOW_S).items() if why]
    assert refused == ids[-1:]


def test_none_are_answered_where_the_operator_wants_none(
    database: Database, space: TokenSpace
) -> None:
    (one,) = _send(database, space, range(1), "d1")
    store = CorrectionStore(database, EscalationSettings(max_waiting=0))
    assert store.ask("d1", [one], now_unix_s=NOW_S) == {one: Reason.ANSWERS_OFF}


def test_what_waits_too_long_is_given_up_and_what_nobody_fetches_is_forgotten(
    database: Database, store: CorrectionStore, space: TokenSpace
) -> None:
    (one,) = _send(database, space, range(1), "d1")
    store.ask("d1", [one], now_unix_s=NOW_S)
    store.tidy(now_unix_s=NOW_S + 100.0)
    assert store.waiting("line", 9) == [one]
    store.tidy(now_unix_s=NOW_S + 101.0)
    store.answer([_label(one)], teacher="t", now_unix_s=NOW_S + 102)  # too late: it is given up
    (found,) = store.due("d1")[0]
    assert (found.answer, found.no_answer) == ("", Reason.ANSWER_LATE)
    store.tidy(now_unix_s=NOW_S + 101.0 + 1_001.0)
    assert store.due("d1") == ([], False)
