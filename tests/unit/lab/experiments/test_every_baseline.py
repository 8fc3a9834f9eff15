"""The contract of every baseline in the table: one short stream each, on a random pair."""

from __future__ import annotations

import numpy as np
import pytest

from driftline_cloud.distill.student import Models
from driftline_cloud.jobs import DistillJob
from driftline_lab.baselines.baseline import Baseline, Kind
from driftline_lab.baselines.norms import norm_names
from driftline_lab.baselines.table import BASELINES
from driftline_lab.experiments.line import RELEASED
from driftline_lab.experiments.result import Result, to_json
from driftline_lab.experiments.run import run
from driftline_lab.replay.cache.store import ResultStore
from driftline_shared.callbacks import ignore
from driftline_shared.update import adapter_digest, adapter_fp16_bytes
from tests.fakes.material import FAST, random_material, random_plan
from tests.fakes.pair_samples import make_job, make_samples

TEACHER = {"source": 0.5, "night": 0.5}
WITHOUT_BAND = {"cema-style"}
"""Random answers are all unreliable to CEMA's filter."""


def run_once(models: Models, baseline: Baseline, store: ResultStore) -> Result:
    plan = random_plan()
    return run(plan, baseline, models, random_material(models, plan), TEACHER, store)


@pytest.mark.parametrize("name", BASELINES)
def test_a_stream_is_the_same_each_time_and_moves_only_what_travels(
    models: Models, store: ResultStore, name: str
) -> None:
    baseline = BASELINES[name]
    first = run_once(models, baseline, store)
    assert first.first.kind == "start" and first.last.kind == "segment"
    assert first.rows[0].digest == adapter_digest(models.initial).hex()
    again = run_once(models, baseline, store)
    assert first.rows == again.rows
    assert first.last.seen == 20
    if baseline.sends:
        assert (first.last.bytes_up > 0) == (first.last.sent > 0)
        assert first.last.sent > 0 or name in WITHOUT_BAND
    else:
        assert first.last.sent == first.last.bytes_up == first.last.bytes_down == 0
    released = [row for row in first.rounds if row.state == RELEASED]
    assert (first.last.bytes_down > 0) == bool(released)
    changed = first.last.digest != first.first.digest
    assert changed == bool(released or baseline.online)


def test_source_only_changes_nothing_and_sends_nothing(models: Models, store: ResultStore) -> None:
    found = run_once(models, BASELINES["source-only"], store)
    assert {row.digest for row in found.rows} == {adapter_digest(models.initial).hex()}
    assert found.last.sent == found.last.steps == 0
    assert found.rounds == []
    assert {tuple(row.accuracy.items()) for row in found.rows} == {
        tuple(found.first.accuracy.items())
    }


LEARNERS = [each for each in BASELINES.values() if each.kind in (Kind.REFERENCE, Kind.IN_CLOUD)]


@pytest.mark.parametrize("baseline", LEARNERS, ids=lambda each: each.name)
def test_a_learner_is_a_function_of_its_job(models: Models, baseline: Baseline) -> None:
    samples = make_samples(models.pair, 10)
    older = make_samples(models.pair, 4, kept=16, seed=9)
    job: DistillJob = make_job(models, {**FAST, **baseline.distil}, samples, older, seed=3)
    first, second = (baseline.learn(job, models, ignore) for _ in range(2))
    assert adapter_digest(first.adapter) == adapter_digest(second.adapter)
    assert first.numbers == second.numbers
    assert first.numbers["num_steps"] == 2 and first.numbers["finite"] == 1
    moved = [n for n in job.start if not np.array_equal(first.adapter[n], job.start[n])]
    assert moved
    if baseline.name == "cema-style":
        assert set(moved) <= set(norm_names(job.start))


def test_no_sample_gives_the_start_back(models: Models) -> None:
    for baseline in LEARNERS:
        job = make_job(models, {**FAST, **baseline.distil}, [], seed=3)
        found = baseline.learn(job, models, ignore)
        assert adapter_digest(found.adapter) == adapter_digest(models.initial)


def test_forms_of_the_downlink_differ_in_bytes_alone(models: Models, store: ResultStore) -> None:
    bytes_down = {}
    for name in ("driftline", "full-fp16-down", "exact-sparse-down"):
        found = run_once(models, BASELINES[name], store)
        first = next(row for row in found.rounds if row.state == RELEASED)
        bytes_down[name] = first.bytes_down
        assert first.sent and first.samples == 7
    full = adapter_fp16_bytes(models.initial)
    assert bytes_down["full-fp16-down"] == full
    assert bytes_down["driftline"] < full


def test_a_result_reads_back(models: Models, store: ResultStore) -> None:
    from driftline_lab.experiments.result import from_json

    found = run_once(models, BASELINES["tent"], store)
    assert from_json(to_json(found), "x") == found
