"""The student learns under the devices' compressor: gradients go through it, nothing else moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from driftline_cloud.config import load_config
from driftline_cloud.distill import passes
from driftline_cloud.distill.examples import from_samples
from driftline_cloud.distill.gate.scoring import score
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models, as_on_devices, trained
from driftline_cloud.distill.trainer import distil
from driftline_cloud.intake.database import Database
from driftline_cloud.jobs import DistillJob, ScoreJob
from driftline_cloud.lines.pairs import line_of
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.rounds.leases import Lease
from driftline_cloud.service.assembly import Makers, assemble_work
from driftline_cloud.state import StateFolder
from driftline_shared.callbacks import ignore
from driftline_shared.errors import ConfigError
from driftline_shared.host.clock import SystemClock
from driftline_shared.ids import line_id
from driftline_shared.models.compression.compressed_model import CompressedModel
from driftline_shared.update import adapter_digest
from tests.fakes.pair_samples import make_job, make_samples

STEP: dict[str, object] = {
    "threads": 1,
    "min_steps": 1,
    "max_steps": 1,
    "batch_size": 6,
    "memory_batch_size": 4,
    "num_source_rows": 8,
    "confidence_floor": 0.0,
    "extra_questions": 0,
    "trained_share": 1.0,
}
COMPRESSORS = [("fastv", {"keep": 0.5, "layer": 1}), ("vidcom2", {"keep": 0.5})]


def under(name: str, options: dict[str, object]) -> dict[str, object]:
    return {**STEP, "compressor": name, "compressor_options": options}


@pytest.fixture(scope="module")
def job(loaded: Models) -> DistillJob:
    return make_job(loaded, STEP, make_samples(loaded.pair, 12), seed=3)


@pytest.mark.parametrize(("name", "options"), COMPRESSORS)
def test_a_step_changes_weights_and_does_so_through_the_compressor(
    models: Models, job: DistillJob, name: str, options: dict[str, object]
) -> None:
    plain = distil(job, models, ignore)
    found = distil(replace(job, settings=under(name, options)), models, ignore)
    assert found.numbers["finite"] == 1 and found.numbers["num_steps"] == 1
    digests = {adapter_digest(one) for one in (found.adapter, plain.adapter, job.start)}
    assert len(digests) == 3
    again = distil(replace(job, settings=under(name, options)), models, ignore)
    assert adapter_digest(again.adapter) == adapter_digest(found.adapter)
    # What the teacher is asked for does not depend on it.
    assert distil(job, models, ignore).numbers == plain.numbers


@pytest.mark.parametrize(("name", "options"), COMPRESSORS)
def test_gradients_reach_projector_and_every_layer(
    models: Models, job: DistillJob, name: str, options: dict[str, object]
) -> None:
    student = as_on_devices(models, DistilSettings.from_mapping(under(name, options))).student
    assert isinstance(student, CompressedModel)
    examples = from_samples(job.samples[:3], models.pair.token_space, job.labels[:3])
    with trained(student, job.start) as parameters:
        seen = passes.run(student, examples)
        torch.nn.functional.cross_entropy(seen.logits, seen.labels).backward()
        # LoRA's B is 0 at version 0, so A gets no gradient yet.
        late = {n: p for n, p in parameters.items() if not n.endswith(".A")}
        assert late
        for parameter_name, parameter in late.items():
            assert parameter.grad is not None, parameter_name
            assert float(parameter.grad.abs().max()) > 0, parameter_name


def test_keeping_everything_is_the_plain_student(models: Models, job: DistillJob) -> None:
    examples = from_samples(job.samples[:3], models.pair.token_space, job.labels[:3])
    whole = as_on_devices(models, DistilSettings.from_mapping(under("fastv", {"keep": 1.0})))
    with torch.no_grad():
        plain, seen = passes.run(models.student, examples), passes.run(whole.student, examples)
    torch.testing.assert_close(seen.logits, plain.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(seen.hidden, plain.hidden, atol=1e-4, rtol=1e-4)
    assert seen.lengths == plain.lengths


def test_without_a_compressor_nothing_is_wrapped(models: Models) -> None:
    assert as_on_devices(models, DistilSettings.from_mapping(STEP)) is models


def test_the_gate_judges_under_the_compressor(models: Models, job: DistillJob) -> None:
    def judged(settings: dict[str, object]) -> float:
        gate = ScoreJob(
            pair_dir=job.pair_dir, holdout=job.samples, labels=job.labels, settings=settings
        )
        return score(gate, [job.start], models)[0].holdout.mean_probability

    rows: dict[str, object] = {"gate_source_rows": 4}
    dropped = judged(under("fastv", {"keep": 0.1, "layer": 1}) | rows)
    assert judged(STEP | rows) != dropped
    assert judged(under("fastv", {"keep": 1.0}) | rows) == pytest.approx(judged(STEP | rows), 1e-4)


@pytest.mark.parametrize(
    ("distilling", "word"),
    [
        ({"compressor": "sieve"}, "known are"),
        ({"compressor": "fastv", "compressor_options": {"kep": 0.5}}, "known are"),
        ({"compressor": "voco"}, "driftline lab train-compressor voco"),
        ({"compressor": "tome"}, "upload_from"),
    ],
)
def test_work_says_before_it_loads_a_model_what_is_wrong(
    models: Models, tmp_path: Path, distilling: dict[str, object], word: str
) -> None:
    config = load_config(None, {"distil": distilling, "pair": str(models.pair.dir)}, {})
    database = Database("sqlite://")
    line = line_id(models.pair.name, models.pair.base_model)
    with pytest.raises(ConfigError, match=word):
        assemble_work(
            config,
            StateFolder(tmp_path),
            Makers(),
            pair=models.pair,
            line=line_of(models.pair),
            database=database,
            lease=Lease(database, line, owner="one", clock=SystemClock(), lease_s=15.0),
            registry=ReleaseRegistry(tmp_path),
            watch=ignore,
        )
    database.close()
