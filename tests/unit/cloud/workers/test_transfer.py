"""What travels between Ray's processes comes back equal, in bounded pieces."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline_cloud.distill.examples import plan_batches
from driftline_cloud.jobs import Distilled, DistillJob, Label, ScoreJob
from driftline_cloud.workers import ray_tasks, transfer
from driftline_shared.tokens import CodedTokens, Grid, RegionLayout, Regions, Sample

TEXT = st.text(max_size=20)
SAMPLES = st.builds(
    Sample,
    id=st.binary(min_size=16, max_size=16),
    question=TEXT,
    answer=TEXT,
    tokens=st.builds(
        CodedTokens,
        codec=st.sampled_from(["int8", "int4"]),
        num_tokens=st.integers(1, 64),
        grid=st.builds(Grid, frames=st.integers(1, 3), rows=st.just(8), cols=st.just(8)),
        payload=st.binary(max_size=200),
    ),
    scores=st.dictionaries(TEXT, st.floats(0, 1), max_size=3),
    priority=st.floats(0, 1),
    created_unix_s=st.integers(0, 2**40),
    adapter_version=st.integers(0, 2**40),
    audit=st.booleans(),
    regions=st.none()
    | st.builds(
        Regions,
        layout=st.sampled_from(RegionLayout),
        height=st.integers(1, 2048),
        width=st.integers(1, 2048),
        thumbnail=st.binary(max_size=50),
        crops=st.binary(max_size=200),
    ),
)
LABELS = st.builds(
    Label,
    sample_id=st.binary(min_size=16, max_size=16),
    text=TEXT,
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
    coded = CodedTokens(codec="int8", num_tokens=1, grid=Grid(rows=1, cols=1), payload=bytes(40))
    sample = Sample(
        id=bytes(16), question="q", answer="", tokens=coded, created_unix_s=0, adapter_version=0
    )
    samples = [replace(sample, created_unix_s=i) for i in range(7)]
    monkeypatch.setattr(transfer, "MAX_TABLE_BYTES", 100)
    tables = transfer.samples_to_tables(samples)
    assert [table.num_rows for table in tables] == [2, 2, 2, 1]
    assert transfer.samples_from_tables(tables) == samples
    assert transfer.samples_to_tables([]) == []
    regions = Regions(
        layout=RegionLayout.MOSAIC, height=8, width=8, thumbnail=bytes(20), crops=bytes(60)
    )
    tables = transfer.samples_to_tables([replace(sample, regions=regions) for sample in samples])
    assert [table.num_rows for table in tables] == [1] * 7


def test_a_distillation_survives_its_folder(tmp_path: Path) -> None:
    given_ = Distilled(
        adapter={"a": np.array([1.5, -2.0], np.float32)},
        importance={"a": np.array([0.0, 3.0], np.float32)},
        numbers={"num_steps": 4.0, "last_loss": 0.1 + 0.2},
    )
    transfer.write_distilled(tmp_path, given_)
    back = transfer.read_distilled(tmp_path)
    assert back.numbers == given_.numbers
    assert (back.adapter["a"] == given_.adapter["a"]).all()
    assert (back.importance["a"] == given_.importance["a"]).all()


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
