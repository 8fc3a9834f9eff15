"""Rounds from trigger to version: what is trained on, what is refused, what a failure leaves."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog.testing

from driftline_cloud.distill.gate.rule import GateLimits
from driftline_cloud.jobs import Distilled, DistillJob, GateScores, ScoreJob
from driftline_cloud.release.choose import ChooseSettings
from driftline_cloud.rounds.coordinator import WorkersAwayError
from driftline_cloud.rounds.ledger import (
    HOLDOUT,
    HOLDOUT_AGAIN,
    RECALL,
    REHEARSAL,
    TRAIN,
    TRAIN_AGAIN,
)
from driftline_cloud.rounds.round import RetryLimits, Round, RoundState
from driftline_cloud.service.cloud import Cloud
from driftline_cloud.workers.workers import WorkersUnreachableError
from driftline_shared.callbacks import ignore
from driftline_shared.errors import DriftlineError, PairError
from driftline_shared.p_ik.head import head_from_bytes
from driftline_shared.update import Adapter, adapter_digest
from driftline_shared.update_apply import apply_update
from tests.fakes.clock import FakeClock
from tests.fakes.cloud import ReckoningWorkers, make_sample, make_scores, start_adapter
from tests.fakes.rounds import SETTINGS, open_cloud, released_files, run_rounds, send

Open = Callable[..., Cloud]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def workers() -> ReckoningWorkers:
    return ReckoningWorkers()


@pytest.fixture
def open_(tmp_path: Path, workers: ReckoningWorkers, clock: FakeClock) -> Iterator[Open]:
    opened: list[Cloud] = []

    def make(name: str = "state", **options: object) -> Cloud:
        cloud = open_cloud(tmp_path / name, workers, clock, **options)
        opened.append(cloud)
        return cloud

    yield make
    for cloud in opened:
        cloud.close()


def _last(cloud: Cloud) -> Round:
    (round_,) = cloud.ledger.newest(cloud.line.id)
    return round_


def _one_round(cloud: Cloud) -> Round:
    """What becomes of the first 40 samples."""
    send(cloud, range(40))
    run_rounds(cloud)
    return _last(cloud)


def _sample_states(cloud: Cloud) -> set[str]:
    ids = [make_sample(number, cloud.line.token_space).id for number in range(40)]
    return set(cloud.store.states(ids).values())


def test_too_few_samples_start_nothing(open_: Open) -> None:
    cloud = open_()
    send(cloud, range(39))
    assert not cloud.coordinator.step()
    assert cloud.ledger.count(cloud.line.id) == 0


def test_a_round_becomes_the_version_that_devices_decode(open_: Open) -> None:
    cloud = open_()
    round_ = _one_round(cloud)
    assert (round_.state, round_.target_version) == (RoundState.DONE, 1)
    manifest = cloud.registry.offer(cloud.line.id, 0, failed_versions=())
    assert manifest is not None
    blob = cloud.registry.blobs.get(manifest.blob_digest)
    held = apply_update(start_adapter(), manifest, blob)
    canonical = cloud.registry.canonical(cloud.line.id, 1)
    assert all(np.array_equal(held[name], canonical[name]) for name in canonical)
    assert manifest.round_id == round_.id
    assert manifest.num_samples == 40
    assert manifest.created_unix_s == round_.created_unix_s
    assert 0.5 < manifest.gate["agreement"] <= 1.0
    assert round_.numbers["update.kept_gain"] >= 0.95
    assert _sample_states(cloud) == {"used"}


def test_holdout_is_never_trained_on_and_older_rounds_are_rehearsed(
    open_: Open, workers: ReckoningWorkers
) -> None:
    cloud = open_()
    _one_round(cloud)
    send(cloud, range(100, 140))
    run_rounds(cloud)
    first, second = workers.jobs
    newest = cloud.ledger.newest(cloud.line.id, limit=2)
    two, one = (cloud.ledger.parts(round_.id) for round_ in newest)
    assert [s.id for s in second.samples] == two[TRAIN]
    assert (len(two[TRAIN]), len(two[HOLDOUT])) == (32, 8)
    assert not set(two[TRAIN]) & set(two[HOLDOUT])
    assert first.rehearsal == []
    assert [s.id for s in second.rehearsal] == two[REHEARSAL]
    assert len(two[REHEARSAL]) == 10
    assert set(two[REHEARSAL]) <= set(one[TRAIN])
    assert len(two[RECALL]) == 6
    assert set(two[RECALL]) <= set(one[HOLDOUT])
    assert [label.sample_id for label in second.labels] == two[TRAIN]
    # The second round starts from what devices hold, and labels no sample a second time.
    assert np.array_equal(
        second.start["query.A"], cloud.registry.canonical(cloud.line.id, 1)["query.A"]
    )
    assert workers.num_labelled == 80


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(
    open_: Open, tmp_path: Path
) -> None:
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        cloud = open_(name, settings=SETTINGS.model_copy(update={"seed": seed}))
        send(cloud, range(40))
        run_rounds(cloud)
        found.append(released_files(tmp_path / name))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_a_candidate_that_gets_worse_is_rejected_with_numbers(
    open_: Open, workers: ReckoningWorkers
) -> None:
    workers.gain = -0.2
    cloud = open_()
    round_ = _one_round(cloud)
    assert round_.state is RoundState.REJECTED
    assert "better with probability" in round_.reason
    assert round_.numbers["gate.base_agreement"] >= round_.numbers["gate.candidate_agreement"]
    assert cloud.registry.newest_version(cloud.line.id) == 0
    # Its samples are not tried again by themselves: the next round learns them, too.
    assert _sample_states(cloud) == {"used"}


def test_what_a_rejected_round_brought_is_learnt_and_judged_by_again(
    open_: Open, workers: ReckoningWorkers
) -> None:
    workers.gain = -0.2
    cloud = open_()
    ledger = cloud.ledger
    rounds = []
    for number in range(3):
        send(cloud, range(40 * number, 40 * (number + 1)))
        if number == 2:
            workers.gain = 0.6
        run_rounds(cloud)
        rounds.append(_last(cloud))
    assert [one.state for one in rounds] == [
        RoundState.REJECTED,
        RoundState.REJECTED,
        RoundState.DONE,
    ]
    first, second, third = (ledger.parts(one.id) for one in rounds)
    assert set(third[TRAIN_AGAIN]) == {*second[TRAIN], *first[TRAIN]}
    assert set(third[HOLDOUT_AGAIN]) == {*second[HOLDOUT], *first[HOLDOUT]}
    # The newest first: they stay where a round's most samples do not hold all.
    assert set(third[TRAIN_AGAIN][: len(second[TRAIN])]) == set(second[TRAIN])
    assert third[REHEARSAL] == third[RECALL] == []
    assert [s.id for s in workers.jobs[-1].samples] == [*third[TRAIN], *third[TRAIN_AGAIN]]
    send(cloud, range(120, 160))
    run_rounds(cloud)
    fourth = ledger.parts(_last(cloud).id)
    assert fourth[TRAIN_AGAIN] == fourth[HOLDOUT_AGAIN] == []
    assert len(fourth[REHEARSAL]) == len(set(fourth[REHEARSAL])) == SETTINGS.rehearsal_samples


def test_a_packing_that_spoils_the_gain_is_rejected(open_: Open) -> None:
    tight = ChooseSettings(max_fp16_share=0.06, shares=(0.01,), quantizers=("linear2",))
    cloud = open_(limits=GateLimits(sure_of_gain=0.95), dwc=tight)
    round_ = _one_round(cloud)
    assert round_.state is RoundState.REJECTED
    assert "no packing" in round_.reason
    assert cloud.registry.newest_version(cloud.line.id) == 0


def test_an_update_over_the_byte_budget_is_rejected_and_its_bytes_told(open_: Open) -> None:
    cloud = open_(dwc=ChooseSettings(max_fp16_share=0.02))
    round_ = _one_round(cloud)
    assert round_.state is RoundState.REJECTED
    assert "dwc.max_fp16_share holds" in round_.reason
    assert round_.numbers["update.update_bytes"] > round_.numbers["update.budget_bytes"]
    assert cloud.registry.newest_version(cloud.line.id) == 0


def test_an_update_that_forgets_too_much_goes_a_shorter_step(
    open_: Open, workers: ReckoningWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Coding moves what is forgotten: a candidate that just passes must not be lost to it."""
    distil, score, made = workers.distil, workers.score, []

    def keep(job: DistillJob, *more: Any) -> Distilled:
        made.append(distil(job, *more))
        return made[-1]

    def lossy(job: ScoreJob, adapters: Sequence[Adapter]) -> list[GateScores]:
        target, start = made[-1].adapter, start_adapter()
        found = []
        for scores, adapter in zip(score(job, adapters), adapters, strict=True):
            is_coded = adapter_digest(adapter) != adapter_digest(target)
            if is_coded and _way(adapter, start) > 0.7 * _way(target, start):
                scores = replace(scores, source=make_scores(0.7, source=0.5).source)
            found.append(scores)
        return found

    monkeypatch.setattr(workers, "distil", keep)
    monkeypatch.setattr(workers, "score", lossy)
    cloud = open_()
    round_ = _one_round(cloud)
    assert round_.state is RoundState.DONE, round_.reason
    assert round_.numbers["gate.step"] == 0.6
    assert cloud.registry.newest_version(cloud.line.id) == 1


def _way(adapter: Adapter, start: Adapter) -> float:
    return sum(float(np.square(adapter[name] - start[name]).sum()) for name in start) ** 0.5


def test_errors_are_retried_with_backoff_and_then_go_through(
    open_: Open, workers: ReckoningWorkers, clock: FakeClock
) -> None:
    workers.errors = [RuntimeError("worker died"), DriftlineError("worker died again")]
    cloud = open_()
    round_ = _one_round(cloud)
    assert (round_.state, round_.num_errors) == (RoundState.DISTILLING, 1)
    assert "worker died" in round_.reason
    assert not cloud.coordinator.step()
    clock.advance(2.5)
    run_rounds(cloud)
    assert _last(cloud).num_errors == 2
    clock.advance(10.0)
    run_rounds(cloud)
    assert _last(cloud).state is RoundState.DONE


def test_a_round_that_fails_gives_its_samples_back(
    open_: Open, workers: ReckoningWorkers, clock: FakeClock
) -> None:
    workers.errors = [PairError("teacher is broken")]
    cloud = open_()
    round_ = _one_round(cloud)
    assert (round_.state, round_.number) == (RoundState.FAILED, 1)
    assert "teacher is broken" in round_.reason
    assert _sample_states(cloud) == {"waiting"}
    # It rests first, then the next round takes them.
    clock.advance(31.0)
    run_rounds(cloud)
    assert (_last(cloud).state, _last(cloud).number) == (RoundState.DONE, 2)
    assert cloud.registry.newest_version(cloud.line.id) == 1


def test_work_that_kills_the_process_each_time_ends(open_: Open, workers: ReckoningWorkers) -> None:
    class Killed(BaseException):
        pass

    def die(where: str) -> None:
        if where == "distil":
            raise Killed

    workers.hook = die
    settings = SETTINGS.model_copy(update={"retry": RetryLimits(max_starts=3)})
    cloud = open_(settings=settings)
    send(cloud, range(40))
    num_killed = 0
    for _ in range(20):
        try:
            run_rounds(open_(settings=settings))
            break
        except Killed:
            num_killed += 1
    round_ = _last(cloud)
    assert num_killed == 3
    assert (round_.state, round_.reason) == (RoundState.FAILED, "distilling was cut off 3 times")


def test_an_orderly_stop_leaves_the_round_and_does_not_count(
    open_: Open, workers: ReckoningWorkers
) -> None:
    stop = threading.Event()
    workers.hook = lambda where: stop.set() if where == "distil" else None
    cloud = open_()
    send(cloud, range(40))
    cloud.coordinator.run(stop)
    round_ = _last(cloud)
    assert (round_.state, round_.num_starts, round_.num_errors) == (RoundState.DISTILLING, 0, 0)
    workers.hook = lambda where: None
    run_rounds(open_())
    assert _last(cloud).state is RoundState.DONE


def test_a_failure_after_publishing_is_no_failure(open_: Open) -> None:
    def watch(event: str, round_) -> None:
        if event == "worked" and round_.state is RoundState.RELEASING:
            raise RuntimeError("the database is away")

    cloud = open_(
        watch=watch, settings=SETTINGS.model_copy(update={"retry": RetryLimits(max_starts=1)})
    )
    send(cloud, range(40))
    with pytest.raises(RuntimeError):
        run_rounds(cloud)
    again = open_(settings=SETTINGS.model_copy(update={"retry": RetryLimits(max_starts=1)}))
    run_rounds(again)
    assert _last(again).state is RoundState.DONE
    assert again.registry.newest_version(again.line.id) == 1


def test_progress_and_old_folders(open_: Open, workers: ReckoningWorkers, tmp_path: Path) -> None:
    seen: list[float] = []
    cloud = open_(
        settings=SETTINGS.model_copy(update={"keep_folders": 1}),
        limits=GateLimits(sure_of_gain=0.0),
    )
    workers.hook = lambda _where: seen.append(cloud.coordinator.progress)
    for start in (0, 100, 200):
        send(cloud, range(start, start + 40))
        run_rounds(cloud)
    assert cloud.registry.newest_version(cloud.line.id) == 3
    assert [path.name[-4:] for path in sorted((tmp_path / "state" / "rounds").iterdir())] == [
        "0003"
    ]
    assert all(0.0 <= value <= 1.0 for value in seen)
    assert len(set(seen)) > 1
    assert cloud.coordinator.progress == 0.0


def test_a_version_comes_with_a_head_of_its_own_where_that_is_asked_for(
    open_: Open, workers: ReckoningWorkers
) -> None:
    stages: list[str] = []
    workers.hook = stages.append
    plain = open_("plain")
    assert _one_round(plain).state is RoundState.DONE
    assert "fit_head" not in stages
    assert plain.registry.manifest(plain.line.id, 1).ik_head == b""

    cloud = open_("judged", settings=SETTINGS.model_copy(update={"fit_p_ik": True}))
    done = _one_round(cloud)
    registry = cloud.registry
    manifest = registry.manifest(cloud.line.id, 1)
    head = head_from_bytes(manifest.ik_head)
    assert head.version == 1
    assert done.numbers["update.p_ik_bytes"] == len(manifest.ik_head)
    # It is fitted on what devices decode, not on the candidate.
    released = registry.canonical(cloud.line.id, 1)
    assert manifest.ik_head == workers.fit_head(workers.jobs[-1], released, version=1)
    # A device that has to take everything gets the same head.
    full = registry.offer(cloud.line.id, 0, full_reason="asked for")
    assert full is not None
    assert full.ik_head == manifest.ik_head


def test_workers_that_were_away_and_are_back_are_no_error_either(tmp_path: Path) -> None:
    def fail(where: str) -> None:
        if where == "distil":
            raise WorkersUnreachableError("the head of the Ray cluster was started anew")

    cloud = open_cloud(tmp_path / "state", ReckoningWorkers(hook=fail), FakeClock())
    send(cloud, range(40))
    with pytest.raises(WorkersAwayError, match="started anew"):
        run_rounds(cloud)
    (round_,) = cloud.ledger.newest(cloud.line.id)
    assert (str(round_.state), round_.num_starts, round_.num_errors) == ("distilling", 0, 0)
    cloud.close()


def test_workers_that_are_away_are_no_error_of_the_round(tmp_path: Path) -> None:
    away = [""]

    def fail(where: str) -> None:
        if where == "distil" and not away[0]:
            away[0] = "no Ray cluster answers at head:6379"
            raise RuntimeError("the driver lost its cluster")

    cloud = open_cloud(tmp_path / "state", ReckoningWorkers(hook=fail), FakeClock())
    cloud.coordinator._away = lambda: away[0]
    send(cloud, range(40))
    for _ in range(3):
        with pytest.raises(WorkersAwayError, match="no Ray cluster answers"):
            run_rounds(cloud)
    (round_,) = cloud.ledger.newest(cloud.line.id)
    assert (str(round_.state), round_.num_starts, round_.num_errors) == ("distilling", 0, 0)
    away[0] = ""
    cloud.coordinator._work.workers.hook = ignore
    run_rounds(cloud)
    (round_,) = cloud.ledger.newest(cloud.line.id)
    assert (str(round_.state), round_.reason) == ("done", round_.trigger)
    cloud.close()


def test_a_full_disk_is_no_fault_of_a_round_and_is_told_once(
    open_: Open, workers: ReckoningWorkers
) -> None:
    cloud = open_()
    send(cloud, range(40))
    num_full = 2 * RetryLimits().max_starts
    workers.errors = [
        OSError(errno.ENOSPC, "No space left on device", "/state/rounds/x") for _ in range(num_full)
    ]
    halt = threading.Event()
    troubles: list[str] = []

    class UntilDone(FakeClock):
        """Ends the loop at its first wait with nothing wrong; keeps what was wrong before."""

        def wait(self, event: threading.Event, seconds: float) -> bool:
            if cloud.coordinator.trouble:
                troubles.append(cloud.coordinator.trouble)
            else:
                halt.set()
            return super().wait(event, seconds)

    cloud.coordinator._clock = UntilDone()
    with structlog.testing.capture_logs() as lines:
        cloud.coordinator.run(halt)
    assert len(troubles) == num_full
    assert {one.partition(". ")[0] for one in troubles} == {"no space left on /state/rounds/x"}
    told = [line for line in lines if line["event"].startswith("coordinator.")]
    assert [line["event"] for line in told] == [
        "coordinator.step_failed",
        "coordinator.works_again",
    ]
    assert "Free space" in told[0]["fix"]
    round_ = _last(cloud)
    assert (round_.state, round_.num_errors) == (RoundState.DONE, 0)
