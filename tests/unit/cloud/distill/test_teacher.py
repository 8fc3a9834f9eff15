"""Labels come from exactly the uplinked tokens, at their positions, in the samples' order."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from driftline_cloud.distill import passes, teacher
from driftline_cloud.distill.examples import from_samples
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from driftline_shared.callbacks import ignore
from driftline_shared.pair.pair import load_pair
from tests.fakes.pair_samples import make_samples

SETTINGS = DistilSettings(threads=1, label_batch_size=4)


def test_labels_equal_one_sample_at_a_time(models: Models) -> None:
    samples = [*make_samples(models.pair, 5), *make_samples(models.pair, 4, kept=16, seed=1)]
    shares: list[float] = []
    labels = teacher.label(models.teacher, models.pair, samples, SETTINGS, shares.append)
    assert [label.sample_id for label in labels] == [sample.id for sample in samples]
    assert shares == sorted(shares) and shares[-1] == 1.0
    for sample, label in zip(samples, labels, strict=True):
        [example] = from_samples([sample], models.pair.token_space)
        said = models.teacher.generate(passes.prompt(models.teacher, [example]), 4)
        assert list(label.tokens) == said.tokens[0]
        assert label.text == said.texts[0]
        slow = float(np.prod(said.top1[0].astype(float))) ** (1 / len(label.tokens))
        assert label.confidence == pytest.approx(slow, rel=1e-4)


def test_positions_matter(models: Models) -> None:
    [example] = from_samples(make_samples(models.pair, 1), models.pair.token_space)
    example = replace(example, answer=(5, 2))
    moved = replace(example, positions=example.positions[::-1].copy())
    here, there = (passes.run(models.teacher, [one]).logits for one in (example, moved))
    assert not torch.allclose(here, there, atol=1e-4)


def test_a_pass_lays_answers_end_to_end(models: Models) -> None:
    examples = from_samples(make_samples(models.pair, 3), models.pair.token_space)
    answers = [(5, 2), (6, 7, 8, 2), (2,)]
    examples = [replace(e, answer=a) for e, a in zip(examples, answers, strict=True)]
    seen = passes.run(models.student, examples)
    assert seen.labels.tolist() == [5, 2, 6, 7, 8, 2, 2]
    alone = [passes.run(models.student, [example]) for example in examples]
    torch.testing.assert_close(
        seen.logits, torch.cat([one.logits for one in alone]), atol=2e-4, rtol=1e-4
    )
    torch.testing.assert_close(
        seen.hidden, torch.cat([one.hidden for one in alone]), atol=2e-4, rtol=1e-4
    )


def test_the_label_cache_key_follows_weights_and_prompt(models: Models, tmp_path: Path) -> None:
    shutil.copytree(models.pair.dir, tmp_path / "other")
    pair = load_pair(tmp_path / "other")
    assert teacher.teacher_digest(pair) == teacher.teacher_digest(models.pair)
    reworded = replace(pair.teacher, prompt=pair.teacher.prompt + " ")
    assert teacher.teacher_digest(replace(pair, teacher=reworded)) != teacher.teacher_digest(pair)
    weights = next(pair.teacher_dir.glob("*.safetensors"))
    blob = bytearray(weights.read_bytes())
    blob[-1] ^= 1
    weights.write_bytes(blob)
    assert teacher.teacher_digest(pair) != teacher.teacher_digest(models.pair)


def test_what_an_owner_says_outranks_the_teacher_where_owners_are_trusted(models: Models) -> None:
    plain, marked, long = make_samples(models.pair, 3)
    marked = replace(marked, owner_answer="a b")
    long = replace(long, owner_answer="a b " * 50)
    samples = [plain, marked, long]
    alone = teacher.label(models.teacher, models.pair, samples[:1], SETTINGS, ignore)
    labels = teacher.label(models.teacher, models.pair, samples, SETTINGS, ignore)
    assert labels[0].text == alone[0].text
    assert (labels[1].text, labels[1].confidence) == ("a b", 1.0)
    assert list(labels[1].tokens) == models.teacher.answer_ids("a b")
    assert labels[2].text != long.owner_answer  # longer than an answer may be
    doubted = teacher.label(
        models.teacher,
        models.pair,
        samples,
        SETTINGS.model_copy(update={"trust_owners": False}),
        ignore,
    )
    assert doubted[1].text != "a b"
