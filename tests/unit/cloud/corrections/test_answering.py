"""The loop that answers: labels once, keeps them for the round, gives up what fails alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from driftline_cloud.corrections.answering import Answerer
from driftline_cloud.corrections.settings import EscalationSettings
from driftline_cloud.jobs import Label
from driftline_cloud.service.cloud import Cloud
from driftline_shared.callbacks import Progress
from driftline_shared.errors import DriftlineError, Reason
from driftline_shared.status import Correction
from driftline_shared.tokens import Sample
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers
from tests.fakes.rounds import open_cloud, send

SETTINGS = EscalationSettings(batch=4, unload_s=50.0)


class Teacher(ReckoningWorkers):
    """Counts the calls; fails on the sample `cannot`."""

    cannot = b""
    num_calls = num_closed = 0

    def label(self, pair_dir: Path, samples: Sequence[Sample], progress: Progress) -> list[Label]:
        self.num_calls += 1
        if any(sample.id == self.cannot for sample in samples):
            raise DriftlineError("no words for it")
        return super().label(pair_dir, samples, progress)

    def close(self) -> None:
        self.num_closed += 1


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cloud(tmp_path: Path, clock: FakeClock) -> Iterator[Cloud]:
    found = open_cloud(tmp_path / "state", ReckoningWorkers(), clock)
    yield found
    found.close()


@pytest.fixture
def teacher() -> Teacher:
    return Teacher()


@pytest.fixture
def answerer(cloud: Cloud, clock: FakeClock, teacher: Teacher) -> Answerer:
    return Answerer(
        cloud.corrections,
        cloud.store,
        make_teacher=lambda: teacher,
        line=cloud.line,
        teacher="teacher-1",
        settings=SETTINGS,
        clock=clock,
    )


def _ask(cloud: Cloud, clock: FakeClock, numbers: range) -> list[bytes]:
    ids = [sample.id for sample in send(cloud, numbers)]
    assert set(cloud.corrections.ask("d1", ids, now_unix_s=int(clock.now_s())).values()) == {None}
    return ids


def _due(cloud: Cloud) -> dict[bytes, Correction]:
    return {one.id: one for one in cloud.corrections.due("d1")[0]}


def test_it_answers_in_batches_and_a_round_need_not_ask_again(
    cloud: Cloud, clock: FakeClock, answerer: Answerer, teacher: Teacher
) -> None:
    ids = _ask(cloud, clock, range(6))
    assert [answerer.step() for _ in range(3)] == [True, True, False]
    assert (teacher.num_calls, teacher.num_labelled) == (2, 6)
    assert {one: due.answer for one, due in _due(cloud).items()} == {
        one: one.hex()[:4] for one in ids
    }
    assert set(cloud.store.labels(ids, teacher="teacher-1")) == set(ids)


def test_a_label_that_a_round_made_is_the_answer(
    cloud: Cloud, clock: FakeClock, answerer: Answerer, teacher: Teacher
) -> None:
    (one,) = _ask(cloud, clock, range(1))
    known = Label(sample_id=one, text="known", tokens=(1,), confidence=0.25)
    cloud.store.put_labels([known], teacher="teacher-1")
    assert answerer.step()
    assert teacher.num_calls == 0
    assert _due(cloud)[one].answer == "known"


def test_one_sample_that_cannot_be_answered_costs_the_others_nothing(
    cloud: Cloud, clock: FakeClock, answerer: Answerer, teacher: Teacher
) -> None:
    ids = _ask(cloud, clock, range(3))
    teacher.cannot = ids[1]
    assert answerer.step()
    due = _due(cloud)
    assert [due[one].no_answer for one in ids] == ["", Reason.ANSWER_FAILED, ""]
    assert not answerer.step()


def test_the_teacher_is_let_go_when_nobody_asks(
    cloud: Cloud, clock: FakeClock, answerer: Answerer, teacher: Teacher
) -> None:
    _ask(cloud, clock, range(1))
    answerer.step()
    clock.advance(49.0)
    answerer.step()
    assert teacher.num_closed == 0
    clock.advance(2.0)
    answerer.step()
    assert teacher.num_closed == 1


def test_it_outlasts_a_database_that_is_away_and_ends_when_told(
    cloud: Cloud, clock: FakeClock, answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, tries = threading.Event(), [OSError("away"), None]

    def waiting(_line: str, _most: int) -> list[bytes]:
        error = tries.pop(0)
        if error is not None:
            raise error
        stop.set()
        return []

    monkeypatch.setattr(cloud.corrections, "waiting", waiting)
    answerer.run(stop)
    assert tries == []


def test_where_none_are_answered_the_loop_ends_at_once(cloud: Cloud, clock: FakeClock) -> None:
    def none() -> Teacher:
        raise AssertionError("no teacher is needed")

    Answerer(
        cloud.corrections,
        cloud.store,
        make_teacher=none,
        line=cloud.line,
        teacher="teacher-1",
        settings=SETTINGS.model_copy(update={"max_waiting": 0}),
        clock=clock,
    ).run(threading.Event())
