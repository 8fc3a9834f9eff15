"""What travels between Ray's processes comes back equal, in bounded pieces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline_cloud.blobs.folder import FolderStore
from driftline_cloud.distill.examples import plan_batches
from driftline_cloud.jobs import Distilled, DistillJob, Label, ScoreJob
from driftline_cloud.workers import artifacts, ray_tasks, transfer
from driftline_shared.tokens import Sample
from tests.fakes.adapters import same_bits
from tests.wire.shared.values import SAMPLE, SAMPLE_WITH_REGIONS

SAMPLES = st.builds(
    replace,
    st.sampled_from([SAMPLE, SAMPLE_WITH_REGIONS]),
    id=st.binary(min_size=16, max_size=16),
    priority=st.floats(0, 1),
)
LABELS = st.builds(
    Label,
    sample_id=st.binary(min_size=16, max_size=16),
    text=st.text(max_size=20),
    tokens=st.lists(st.integers(0, 2**31), max_size=6).map(tuple),
    confidence=st.floats(0, 1),
)


@given(samples=st.lists(SAMPLES, max_size=8), labels=st.lists(LABELS, max_size=8))
@settings(max_examples=25, deadline=None)
def test_jobs_survive_the_journey(samples: list[Sample], labels: list[Label]) -> None:
    job = DistillJob(
        pair_dir=Path("pair"),
        seed=3,
        start={"a.A": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.ones(2, np.float32)},
        samples=samples,
        labels=labels,
        rehearsal=samples[:2],
        rehearsal_labels=labels[:2],
        settings={"a1": 0.5},
    )
    shelf: list[object] = []

    def put(value: object) -> int:
        shelf.append(value)
        return len(shelf) - 1

    message = ray_tasks.distill_job_to_message(job, put=put)
    back = ray_tasks.distill_job_from_message(message, get=lambda at: shelf[at])
    assert replace(back, start={}) == replace(job, start={})
    assert all((back.start[name] == array).all() for name, array in job.start.items())
    score = ScoreJob(
        pair_dir=Path("pair"),
        holdout=samples,
        labels=labels,
        rehearsal=samples[:1],
        rehearsal_labels=labels[:1],
        settings={"threads": 1},
    )
    assert ray_tasks.score_job_from_message(ray_tasks.score_job_to_message(score)) == score


def test_tables_are_cut_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = replace(SAMPLE, tokens=replace(SAMPLE.tokens, payload=bytes(200)))
    samples = [replace(sample, created_unix_s=i) for i in range(7)]
    monkeypatch.setattr(transfer, "MAX_TABLE_BYTES", 650)
    tables = transfer.samples_to_tables(samples)
    assert [table.num_rows for table in tables] == [2, 2, 2, 1]
    assert transfer.samples_from_tables(tables) == samples
    assert transfer.samples_to_tables([]) == []
    tables = transfer.samples_to_tables([SAMPLE_WITH_REGIONS] * 7)
    assert [table.num_rows for table in tables] == [2, 2, 2, 1]


def test_a_candidate_survives_its_folder(tmp_path: Path) -> None:
    candidate = Distilled(
        adapter={"a": np.array([1.5, -2.0], np.float32)},
        importance={"a": np.array([0.0, 3.0], np.float32)},
        numbers={"num_steps": 4.0, "last_loss": 0.1 + 0.2},
    )
    assert artifacts.load_distilled(FolderStore(tmp_path)) is None
    artifacts.save_distilled(FolderStore(tmp_path), candidate)
    back = artifacts.load_distilled(FolderStore(tmp_path))
    assert back is not None and back.numbers == candidate.numbers
    assert same_bits(back.adapter, candidate.adapter)
    assert same_bits(back.importance, candidate.importance)


@given(
    sizes=st.lists(st.tuples(st.sampled_from([8, 16]), st.integers(0, 5)), max_size=40),
    batch=st.integers(1, 7),
)
@settings(max_examples=40, deadline=None)
def test_a_batch_planned_again_elsewhere_is_the_same(
    sizes: list[tuple[int, int]], batch: int
) -> None:
    for planned in plan_batches(sizes, batch):
        assert plan_batches([sizes[i] for i in planned], batch) == [list(range(len(planned)))]
