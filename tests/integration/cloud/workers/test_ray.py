"""Ray workers give what local ones give, to the byte, also when a worker is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from driftline_cloud.blobs.folder import FolderStore
from driftline_cloud.blobs.store import MOST_BYTES
from driftline_cloud.distill.checkpoints.form import from_bytes
from driftline_cloud.distill.checkpoints.kept import StoredCheckpoints
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.trainer import ASKING_SHARE
from driftline_cloud.jobs import Distilled, DistillJob, Label, ScoreJob
from driftline_cloud.workers.cluster.hints import Hints
from driftline_cloud.workers.local import LocalWorkers
from driftline_cloud.workers.ray import RayWorkers
from driftline_shared.callbacks import ignore
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.tokens import Sample
from driftline_shared.update import Adapter, adapter_digest
from tests.fakes.pair_samples import make_samples
from tests.fakes.tiny_pair import make_tiny_pair

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS: dict[str, object] = {
    "threads": 1,
    "min_steps": 6,
    "max_steps": 6,
    "batch_size": 8,
    "num_source_rows": 12,
    "confidence_floor": 0.0,
    "label_batch_size": 4,
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return load_pair(make_tiny_pair(tmp_path_factory.mktemp("pair")))


@pytest.fixture(scope="module")
def ray_workers(
    tmp_path_factory: pytest.TempPathFactory, one_cluster: None
) -> Iterator[RayWorkers]:
    storage = tmp_path_factory.mktemp("ray") / "shared"
    workers = RayWorkers(settings=DistilSettings.from_mapping(SETTINGS), storage=storage)
    yield workers
    workers.close()
    assert not any(storage.glob("*"))


@pytest.fixture(scope="module")
def samples(pair: Pair) -> list[Sample]:
    return [*make_samples(pair, 10), *make_samples(pair, 3, kept=16, seed=1)]


class _CutOffError(Exception):
    pass


def test_the_clusters_autoscaler_is_told_what_waits(ray_workers: RayWorkers) -> None:
    from ray.autoscaler._private.constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL
    from ray.experimental import internal_kv

    def told() -> object:
        return json.loads(internal_kv._internal_kv_get(AUTOSCALER_RESOURCE_REQUEST_CHANNEL))

    hints = Hints(2)
    hints.ask({"num_cpus": 1, "num_gpus": 0}, 9)
    assert told() == [{"CPU": 1}, {"CPU": 1}]
    hints.release()
    assert told() == []


def test_a_labeller_that_is_killed_costs_its_batches_alone(
    pair: Pair, ray_workers: RayWorkers
) -> None:
    many = make_samples(pair, 40, seed=3)
    while len(before := ray_workers.labelling_pids()) < 2:
        ray_workers.label(pair.dir, many[:8], ignore)
        time.sleep(0.2)
    shares: list[float] = []

    def kill_once(share: float) -> None:
        shares.append(share)
        if len(shares) == 2:
            os.kill(before[0], signal.SIGKILL)

    found = ray_workers.label(pair.dir, many, kill_once)
    assert len(shares) == 10  # each batch came once
    assert before[0] not in ray_workers.labelling_pids()
    local = LocalWorkers(settings=DistilSettings.from_mapping(SETTINGS))
    assert found == local.label(pair.dir, many, ignore)


def test_a_round_on_ray_gives_the_bytes_of_a_round_here(
    pair: Pair, samples: list[Sample], ray_workers: RayWorkers, tmp_path: Path
) -> None:
    local = LocalWorkers(settings=DistilSettings.from_mapping(SETTINGS))
    shares: list[float] = []
    labels = local.label(pair.dir, samples, ignore)
    assert ray_workers.label(pair.dir, samples, shares.append) == labels
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert ray_workers.label(pair.dir, [], ignore) == []

    job = _job(pair, samples, labels, local)
    here = local.distil(job, ignore)
    kept = _checkpoint_half_way(local, job, tmp_path)
    there = _distil_with_a_kill(ray_workers, job, kept)
    assert adapter_digest(there.adapter) == adapter_digest(here.adapter)
    assert adapter_digest(there.importance) == adapter_digest(here.importance)
    assert there.numbers == here.numbers

    gate = ScoreJob(pair_dir=pair.dir, holdout=samples, labels=labels, settings=SETTINGS)
    candidates = [job.start, here.adapter]
    assert ray_workers.score(gate, candidates) == local.score(gate, candidates)


def test_a_cut_off_distillation_ends(
    pair: Pair, samples: list[Sample], ray_workers: RayWorkers
) -> None:
    local = LocalWorkers(settings=DistilSettings.from_mapping(SETTINGS))
    labels = local.label(pair.dir, samples, ignore)
    long: dict[str, object] = {"min_steps": 100_000, "max_steps": 100_000}
    job = replace(_job(pair, samples, labels, local), settings={**SETTINGS, **long})

    def cut(_share: float) -> None:
        raise _CutOffError

    with pytest.raises(_CutOffError):
        ray_workers.distil(job, cut)


def _job(pair: Pair, samples: list[Sample], labels: list[Label], local: LocalWorkers) -> DistillJob:
    assert DistilSettings.from_mapping(SETTINGS).threads == 1
    return DistillJob(
        pair_dir=pair.dir,
        seed=5,
        start=_version_0(pair),
        samples=samples[:10],
        labels=labels[:10],
        rehearsal=samples[10:],
        rehearsal_labels=labels[10:],
        settings=SETTINGS,
    )


def _version_0(pair: Pair) -> Adapter:
    from driftline_cloud.distill.student import load_models

    return load_models(pair.dir).initial


def _checkpoint_half_way(local: LocalWorkers, job: DistillJob, folder: Path) -> StoredCheckpoints:
    kept = StoredCheckpoints(store=FolderStore(folder), key="kept", every_s=1e-9)

    def cut(share: float) -> None:
        if kept.load(MOST_BYTES) is not None and share >= 0.5:
            raise _CutOffError

    with pytest.raises(_CutOffError):
        local.distil(job, cut, kept)
    return kept


def _distil_with_a_kill(workers: RayWorkers, job: DistillJob, kept: StoredCheckpoints) -> Distilled:
    killed: list[int] = []
    step = from_bytes(kept.load(MOST_BYTES) or b"").state["step"]

    def kill_once(share: float) -> None:
        # Nothing is done again that was kept.
        assert share > ASKING_SHARE + (1 - ASKING_SHARE) * step / 6
        if not killed and workers.distilling_pid is not None:
            killed.append(workers.distilling_pid)
            os.kill(workers.distilling_pid, signal.SIGKILL)

    found = workers.distil(job, kill_once, kept)
    assert killed and workers.distilling_pid != killed[0]
    return found
