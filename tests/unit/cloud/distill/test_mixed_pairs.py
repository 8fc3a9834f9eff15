"""Whole distillations of pairs that do not share a tower or a vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from driftline_cloud.distill import teacher
from driftline_cloud.distill.examples import from_samples
from driftline_cloud.distill.gate.scoring import score
from driftline_cloud.distill.questions import ask_more
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models, load_models
from driftline_cloud.distill.trainer import distil
from driftline_cloud.jobs import Distilled, DistillJob, ScoreJob
from driftline_shared.callbacks import ignore
from driftline_shared.errors import PairError
from driftline_shared.models.adapters import slots
from driftline_shared.pair.pair import load_pair
from driftline_shared.update import adapter_digest
from tests.fakes.mixed_pairs import byte_tokenizer, make_mixed_pair, space_tokenizer
from tests.fakes.pair_samples import make_job, make_samples

SETTINGS: dict[str, object] = {
    "threads": 1,
    "min_steps": 10,
    "max_steps": 10,
    "batch_size": 16,
    "memory_batch_size": 4,
    "num_source_rows": 8,
    "gate_source_rows": 4,
    "extra_questions": 0,
    "confidence_floor": 0.0,
    "learning_rate": 2e-2,
    "trained_share": 1.0,
    "a5": 0.0,
}

VARIANTS: dict[str, Callable[[], dict[str, Any]]] = {
    "padded": lambda: {"num_padded": 27},
    "spaces": lambda: {"tokenizer": space_tokenizer(), "num_padded": 5},
    "finer": lambda: {"size": 48, "tower_width": 48, "tokenizer": byte_tokenizer()},
    "coarser": lambda: {
        "patch": 16,
        "tower_width": 24,
        "tokenizer": byte_tokenizer(),
        "vocabulary": "sequence",
    },
}
"""One vocabulary with padding; two, and one tower; two of both; two of both, and text alone."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A pair of one variant, its job, and what came of it."""

    models: Models
    job: DistillJob
    found: Distilled


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    """Each variant is made once, when it is first asked for."""
    known: dict[str, Case] = {}

    def case(name: str) -> Case:
        if name not in known:
            known[name] = _case(tmp_path_factory.mktemp(name), **VARIANTS[name]())
        slots.write(known[name].models.student.model, known[name].models.initial)
        return known[name]

    return case


def _case(folder: Path, **variant: Any) -> Case:
    models = load_models(make_mixed_pair(folder, **variant))
    job = make_job(models, SETTINGS, make_samples(models.pair, 16), seed=3)
    return Case(models=models, job=job, found=distil(job, models, ignore))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_round_lowers_the_loss_and_raises_agreement(
    cases: Callable[[str], Case], name: str
) -> None:
    case = cases(name)
    numbers = case.found.numbers
    assert numbers["finite"] == 1 and numbers["num_samples"] == 16
    assert numbers["last_loss"] < numbers["first_loss"]
    assert numbers["last_a1"] < numbers["first_a1"]
    gate = ScoreJob(
        pair_dir=case.job.pair_dir,
        holdout=case.job.samples,
        labels=case.job.labels,
        settings=SETTINGS,
    )
    before, after = score(gate, [case.job.start, case.found.adapter], case.models)
    assert after.holdout.mean_probability > before.holdout.mean_probability
    assert after.holdout.share >= before.holdout.share


@pytest.mark.parametrize("name", ["finer", "coarser"])
def test_same_job_same_bytes(cases: Callable[[str], Case], name: str) -> None:
    case = cases(name)
    again = distil(case.job, case.models, ignore)
    assert adapter_digest(again.adapter) == adapter_digest(case.found.adapter)
    assert again.numbers == case.found.numbers


@pytest.mark.parametrize(
    ("name", "mode", "terms"),
    [
        ("padded", "same", {"a1", "a2", "a3", "a4"}),
        ("spaces", "shared", {"a1", "a2", "a3", "a4"}),
        ("finer", "shared", {"a1", "a2", "a3", "a4"}),
        ("coarser", "sequence", {"a1", "a3"}),
    ],
)
def test_the_mode_says_which_terms_apply(
    cases: Callable[[str], Case], name: str, mode: str, terms: set[str]
) -> None:
    case = cases(name)
    assert case.models.matching.vocabularies.mode == mode
    numbers = case.found.numbers
    assert {n.removeprefix("last_") for n in numbers if n.startswith("last_a")} == terms
    assert (numbers["matched_steps"] > 0) == (mode != "sequence")
    assert 0 < numbers["shared_strings"] <= 1


def test_of_an_answer_that_is_cut_otherwise_only_some_steps_are_compared(
    cases: Callable[[str], Case],
) -> None:
    models = cases("spaces").models
    answer = models.student.answer_ids("circle")
    assert 0 < models.matching.step_share([answer]) < 1
    assert models.matching.step_share([]) == 1.0
    assert cases("padded").models.matching.step_share([answer]) == 1.0


@pytest.mark.parametrize("name", ["spaces", "finer"])
def test_labels_are_the_teachers_text_in_the_students_tokens(
    cases: Callable[[str], Case], name: str
) -> None:
    case = cases(name)
    held, lengths = case.models.matching.vocabularies.student, set()
    for label in case.job.labels:
        assert all(i in held.pieces or i in held.ends for i in label.tokens)
        assert len(label.tokens) <= case.models.pair.max_new_tokens
        said = case.models.student.decode(label.tokens)
        # One letter of the teacher's may be no token of the student's: then not all fits.
        assert label.text.startswith(said) if len(label.tokens) == 4 else label.text == said
        lengths.add(len(label.tokens))
    assert said and lengths


def test_logits_are_cut_to_the_tokens_that_exist(cases: Callable[[str], Case]) -> None:
    models = cases("padded").models
    assert models.teacher.vocab_size == models.student.vocab_size + 27
    logits = torch.arange(2.0 * models.teacher.vocab_size).reshape(2, -1)
    kept = models.matching.of_teacher(logits)
    assert torch.equal(kept, logits[:, : models.student.vocab_size])
    mine = logits[:, : models.student.vocab_size]
    assert torch.equal(models.matching.of_student(mine), mine)


def test_shared_logits_are_of_the_same_strings(cases: Callable[[str], Case]) -> None:
    models = cases("finer").models
    both = models.matching.vocabularies
    of_student = models.matching.of_student(torch.arange(float(models.student.vocab_size))[None])
    of_teacher = models.matching.of_teacher(torch.arange(float(models.teacher.vocab_size))[None])
    texts = [both.student.pieces[int(i)] for i in of_student[0, :-1]]
    assert texts == [both.teacher.pieces[int(i)] for i in of_teacher[0, :-1]]
    assert len(set(texts)) == len(texts) > 256


def test_further_answers_are_in_the_students_tokens(cases: Callable[[str], Case]) -> None:
    models = cases("spaces").models
    examples = from_samples(make_samples(models.pair, 6), models.pair.token_space)
    settings = DistilSettings.from_mapping(SETTINGS)
    more = ask_more(models, examples, 2, settings, np.random.default_rng(0))
    held = models.matching.vocabularies.student
    assert more
    assert all(i in held.pieces or i in held.ends for one in more for i in one.answer)


def test_a_translated_teacher_reads_every_number_of_tokens(cases: Callable[[str], Case]) -> None:
    models = cases("coarser").models
    assert models.own is not None and models.own.grid.num_tokens == 4
    assert models.teacher.grid == models.pair.token_space.grid
    samples = [*make_samples(models.pair, 4, kept=5), *make_samples(models.pair, 4, kept=16)]
    settings = DistilSettings(threads=1)
    together = teacher.label(models.teacher, models.pair, samples, settings, ignore)
    for sample, label in zip(samples, together, strict=True):
        [alone] = teacher.label(models.teacher, models.pair, [sample], settings, ignore)
        assert alone.tokens == label.tokens


def test_the_label_cache_key_follows_what_stands_between(
    cases: Callable[[str], Case],
) -> None:
    pair = cases("finer").models.pair
    key = teacher.teacher_digest(pair)
    other = pair.spec.model_copy(
        update={"distillation": pair.spec.distillation.model_copy(update={"vocabulary": "shared"})}
    )
    assert teacher.teacher_digest(replace(pair, spec=other)) != key
    path = pair.dir / "translator.safetensors"
    held = path.read_bytes()
    path.write_bytes(held[:-1] + bytes([held[-1] ^ 1]))
    try:
        assert teacher.teacher_digest(pair) != key
    finally:
        path.write_bytes(held)
    assert teacher.teacher_digest(pair) == key


def test_another_tower_without_a_translator_is_refused(
    cases: Callable[[str], Case], tmp_path: Path
) -> None:
    folder = tmp_path / "pair"
    source = cases("finer").models.pair.dir
    folder.mkdir()
    for path in source.iterdir():
        if path.name not in ("translator.safetensors", "pair.toml"):
            (folder / path.name).symlink_to(path)
    text = (source / "pair.toml").read_text()
    (folder / "pair.toml").write_text(text)
    with pytest.raises(PairError, match=r"translator\.safetensors is missing"):
        load_models(folder)
    (folder / "pair.toml").write_text(text[: text.index("[translator]")])
    with pytest.raises(PairError, match="different vision towers"):
        load_models(folder)
    assert load_pair(folder).spec.translator is None
