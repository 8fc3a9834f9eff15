"""Labelling, scoring and labelling again where the cluster has one GPU: who is warm gives way."""

from __future__ import annotations

import pytest

from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import load_models
from driftline_cloud.jobs import ScoreJob
from driftline_cloud.workers.ray import RayWorkers
from driftline_shared.callbacks import ignore
from driftline_shared.pair.pair import load_pair
from tests.fakes.pair_samples import make_samples
from tests.fakes.tiny_pair import make_tiny_pair

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS: dict[str, object] = {"threads": 1, "label_batch_size": 4, "gate_source_rows": 8}


class AsOnAGpu(RayWorkers):
    """Asks for what it would on `cuda`; the models stay on the CPU."""

    def _resources(self) -> dict[str, float]:
        return {"num_cpus": 1, "num_gpus": 1}


@pytest.mark.usefixtures("one_cluster")
def test_the_scorer_and_the_labeller_take_turns_on_one_gpu(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    pair = load_pair(make_tiny_pair(tmp_path_factory.mktemp("pair")))
    samples = make_samples(pair, 8)
    workers = AsOnAGpu(settings=DistilSettings.from_mapping(SETTINGS))
    try:
        labels = workers.label(pair.dir, samples, ignore)
        job = ScoreJob(pair_dir=pair.dir, holdout=samples, labels=labels, settings=SETTINGS)
        assert len(workers.score(job, [load_models(pair.dir).initial])) == 1
        assert workers.label(pair.dir, samples, ignore) == labels
    finally:
        workers.close()
