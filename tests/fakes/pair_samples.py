"""Samples as a device would send them, made from the source images of a pair, and their job."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from driftline_cloud.distill import teacher
from driftline_cloud.distill.examples import Example
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from driftline_cloud.jobs import DistillJob
from driftline_shared.callbacks import ignore
from driftline_shared.codec.tokens import encode_tokens
from driftline_shared.pair.pair import Pair
from driftline_shared.tokens import Sample, VisualTokens


def make_samples(pair: Pair, count: int, *, kept: int = 8, seed: int = 0) -> list[Sample]:
    """`count` samples of `kept` tokens each, int8, over the pair's own source rows."""
    rng = np.random.default_rng(seed)
    source = pair.source_set()
    grid = pair.token_space.grid
    found = []
    for number in range(count):
        image, question, answer = source.rows[int(rng.integers(len(source.rows)))]
        every = VisualTokens(
            values=source.tokens[image],
            positions=np.arange(grid.num_tokens, dtype=np.int32),
            grid=grid,
        )
        tokens = every.keep(rng.permutation(grid.num_tokens)[:kept])
        found.append(
            Sample(
                id=seed.to_bytes(8, "big") + number.to_bytes(8, "big"),
                question=question,
                answer=answer,
                tokens=encode_tokens(tokens, pair.token_space, "int8"),
                scores={"entropy": float(rng.random())},
                created_unix_s=1_700_000_000 + number,
                adapter_version=0,
            )
        )
    return found


def make_job(
    models: Models,
    settings: dict[str, object],
    samples: list[Sample],
    older: list[Sample] | None = None,
    *,
    seed: int,
) -> DistillJob:
    """A distillation from version 0, with the teacher's labels; `older` are rehearsed."""
    labels, older_labels = (
        teacher.label(
            models.teacher, models.pair, rows, DistilSettings.from_mapping(settings), ignore
        )
        for rows in (samples, older or [])
    )
    return DistillJob(
        pair_dir=models.pair.dir,
        seed=seed,
        start=models.initial,
        samples=samples,
        labels=labels,
        rehearsal=older or [],
        rehearsal_labels=older_labels,
        settings=settings,
    )


def answered(models: Models, count: int) -> list[Example]:
    """Source rows with all tokens and what the student itself answers to them."""
    source = models.pair.source_set()
    rows = [
        Example(
            values=source.tokens[image],
            positions=np.arange(len(source.tokens[image]), dtype=np.int64),
            question=question,
        )
        for image, question, _ in source.rows[:count]
    ]
    with torch.inference_mode():
        said = teacher.answer(models.student, models.pair, rows, DistilSettings(threads=1), ignore)
    return [replace(row, answer=one.tokens) for row, one in zip(rows, said, strict=True)]
