"""A sample that no round can work on costs itself, never the round."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from driftline_cloud.distill.checkpoints.kept import Checkpoints
from driftline_cloud.intake.counts import DROPPED, QUARANTINED, USED, WAITING
from driftline_cloud.jobs import Distilled, DistillJob, Label
from driftline_cloud.rounds.round import RoundState
from driftline_cloud.service.cloud import Cloud
from driftline_cloud.workers.workers import Keep
from driftline_shared.callbacks import Progress, ignore
from driftline_shared.errors import Reason, SampleError
from driftline_shared.tokens import Sample
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers, make_sample
from tests.fakes.rounds import open_cloud, run_rounds, send, send_samples


@dataclass(kw_only=True)
class PickyWorkers(ReckoningWorkers):
    """Workers that some samples are too much for."""

    unlabelled: set[bytes] = field(default_factory=set)
    unsure: set[bytes] = field(default_factory=set)
    untrained: set[bytes] = field(default_factory=set)
    odd: set[bytes] = field(default_factory=set)
    down: bool = False

    def label(
        self,
        pair_dir: Path,
        samples: Sequence[Sample],
        progress: Progress,
        known: Collection[bytes] = (),
        keep: Keep = ignore,
    ) -> list[Label]:
        if self.down or self.unlabelled & {one.id for one in samples if one.id not in known}:
            raise IndexError("index 32768 is out of bounds for dimension 0 with size 64")
        return super().label(pair_dir, samples, progress, known, keep)

    def says(self, sample: Sample) -> Label:
        if sample.id in self.odd:
            return Label(sample_id=sample.id, text="odd", tokens=(2,), confidence=0.9)
        if sample.id in self.unsure:
            return Label(sample_id=sample.id, text="", tokens=(1,), confidence=float("nan"))
        return super().says(sample)

    def distil(
        self, job: DistillJob, progress: Progress, checkpoints: Checkpoints | None = None
    ) -> Distilled:
        if self.untrained & {one.id for one in job.samples}:
            raise SampleError("too much", reason=Reason.SAMPLE_SHAPE)
        return super().distil(job, progress)


@pytest.fixture
def workers() -> PickyWorkers:
    return PickyWorkers()


@pytest.fixture
def cloud(tmp_path: Path, workers: PickyWorkers) -> Iterator[Cloud]:
    opened = open_cloud(tmp_path / "state", workers, FakeClock())
    yield opened
    opened.close()


def test_the_round_goes_on_without_what_cannot_be_labelled(
    cloud: Cloud, workers: PickyWorkers
) -> None:
    samples = send(cloud, range(40))
    workers.unlabelled = {samples[3].id, samples[4].id, samples[39].id}
    workers.unsure = {samples[20].id}
    run_rounds(cloud)
    (round_,) = cloud.ledger.newest(cloud.line.id)
    assert round_.state is RoundState.DONE and round_.num_errors == 0
    bad = workers.unlabelled | workers.unsure
    states = cloud.store.states([one.id for one in samples])
    assert {one for one, state in states.items() if state == QUARANTINED} == bad
    assert {state for one, state in states.items() if one not in bad} == {USED}
    reasons = {one.sample_id: one.reason for one in cloud.quarantine.of_line(cloud.line.id)}
    assert reasons.keys() == bad
    assert reasons[samples[20].id] == Reason.SAMPLE_NOT_FINITE
    assert cloud.quarantine.count(cloud.line.id) == 4
    # None of them is ever trained on, now or as an older sample.
    send(cloud, range(40, 80))
    run_rounds(cloud)
    assert all(not bad & {one.id for one in (*job.samples, *job.rehearsal)} for job in workers.jobs)
    assert cloud.quarantine.count(cloud.line.id) == 4


def test_the_round_goes_on_without_what_cannot_be_trained_on(
    cloud: Cloud, workers: PickyWorkers
) -> None:
    samples = send(cloud, range(40))
    parts_of = {one.id for one in samples[::2]}
    workers.untrained = {next(iter(parts_of)), samples[1].id}
    run_rounds(cloud)
    (round_,) = cloud.ledger.newest(cloud.line.id)
    assert round_.state is RoundState.DONE
    apart = {one.sample_id for one in cloud.quarantine.of_line(cloud.line.id)}
    trained = {one.id for one in workers.jobs[-1].samples}
    assert apart <= workers.untrained and not trained & workers.untrained


def test_workers_that_are_down_quarantine_nobody(cloud: Cloud, workers: PickyWorkers) -> None:
    samples = send(cloud, range(40))
    workers.down = True
    run_rounds(cloud, most_steps=30)
    assert cloud.quarantine.count(cloud.line.id) == 0
    workers.down = False
    run_rounds(cloud, most_steps=60)
    assert set(cloud.store.states([one.id for one in samples]).values()) == {USED}


def test_where_all_are_bad_the_round_fails_and_none_comes_back(
    cloud: Cloud, workers: PickyWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = send(cloud, range(40))

    def refuse(*_: object) -> list[Label]:
        raise SampleError("no", reason=Reason.SAMPLE_SHAPE)

    monkeypatch.setattr(workers, "label", refuse)
    run_rounds(cloud)
    (round_,) = cloud.ledger.newest(cloud.line.id)
    assert round_.state is RoundState.FAILED and "in quarantine" in round_.reason
    assert set(cloud.store.states([one.id for one in samples]).values()) == {QUARANTINED}
    assert cloud.store.counts(cloud.line.id).num_waiting == 0


def test_an_operator_decides_over_what_is_set_apart(cloud: Cloud, workers: PickyWorkers) -> None:
    samples = send(cloud, range(40))
    workers.unlabelled = {samples[0].id, samples[1].id}
    run_rounds(cloud)
    one, other = samples[0].id, samples[1].id
    assert cloud.quarantine.release([one]) == 1 and cloud.quarantine.drop([other]) == 1
    assert cloud.quarantine.release([one, other, samples[5].id]) == 0
    assert cloud.store.states([one, other]) == {one: WAITING, other: DROPPED}
    assert cloud.quarantine.of_line(cloud.line.id) == []


def test_what_only_one_device_is_told_is_set_apart_before_training(
    cloud: Cloud, workers: PickyWorkers
) -> None:
    lines = cloud.lines.of(cloud.first).line
    odd = [make_sample(number, lines.token_space) for number in range(8)]
    workers.odd = {one.id for one in odd}
    for device, samples in (
        ("hostile", odd),
        *(
            (f"d{n}", [make_sample(100 + 5 * n + k, lines.token_space) for k in range(5)])
            for n in range(8)
        ),
    ):
        send_samples(cloud, samples, device_id=device)
    run_rounds(cloud)
    (round_,) = cloud.ledger.newest(cloud.line.id)
    assert round_.state is RoundState.DONE
    assert round_.numbers["screen.lone_answers"] == 8 and round_.numbers["screen.copies"] == 0
    apart = cloud.quarantine.of_line(cloud.line.id)
    assert {(one.sample_id, one.device_id) for one in apart} == {
        (one, "hostile") for one in workers.odd
    }
    assert {one.reason for one in apart} == {Reason.SAMPLE_LONE_ANSWER}
    assert not workers.odd & {one.id for one in workers.jobs[-1].samples}
    # The same round, cut off before its next state was stored, finds the same.
    again = cloud.coordinator._work.screening.work(round_)
    assert again["screen.lone_answers"] == 8 and cloud.quarantine.count(cloud.line.id) == 8
    # What an operator lets in again is learnt, though nothing about it has changed.
    assert cloud.quarantine.release([one.id for one in odd]) == 8
    for n in range(8):
        fresh = [make_sample(200 + 5 * n + k, lines.token_space) for k in range(5)]
        send_samples(cloud, fresh, device_id=f"d{n}")
    run_rounds(cloud)
    assert set(cloud.store.states(sorted(workers.odd)).values()) == {USED}
    assert cloud.quarantine.count(cloud.line.id) == 0
