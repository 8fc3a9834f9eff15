"""Further questions are other samples' ones; those that are learnt are the hard ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from driftline_cloud.distill import passes
from driftline_cloud.distill.agreement import agree
from driftline_cloud.distill.examples import from_samples
from driftline_cloud.distill.questions import ask_more, hardest
from driftline_cloud.distill.settings import DistilSettings
from driftline_cloud.distill.student import Models
from tests.fakes.pair_samples import make_samples

SETTINGS = DistilSettings(threads=1, label_batch_size=4, confidence_floor=0.0)


def test_further_questions_are_other_samples_ones_answered_from_the_same_tokens(
    models: Models,
) -> None:
    examples = from_samples(make_samples(models.pair, 12), models.pair.token_space)
    rng = np.random.default_rng(0)
    more = ask_more(models, examples, 2, SETTINGS, rng)
    own = {id(example.values): example.question for example in examples}
    asked = [(id(example.values), example.question) for example in more]
    assert len(set(asked)) == len(asked) > 0
    assert all(own[values] != question for values, question in asked)
    assert {question for _, question in asked} <= set(own.values())
    first = more[0]
    said = models.teacher.generate(passes.prompt(models.teacher, [first]), 4)
    assert list(first.answer) == said.tokens[0]
    none = SETTINGS.model_copy(update={"confidence_floor": 1.0})
    assert ask_more(models, examples, 2, none, rng) == []
    assert ask_more(models, [], 2, SETTINGS, rng) == []
    assert ask_more(models, examples, 0, SETTINGS, rng) == []


def test_the_hardest_are_those_the_student_would_not_say(models: Models) -> None:
    examples = from_samples(make_samples(models.pair, 8), models.pair.token_space)
    found = ask_more(models, examples, 6, SETTINGS, np.random.default_rng(1))
    kept = hardest(models, models.initial, found, 2, SETTINGS)
    likely = agree(models.student, found, SETTINGS).probability
    learnt = {id(one) for one in kept}
    for example in examples:
        mine = [i for i, one in enumerate(found) if one.values is example.values]
        taken = [likely[i] for i in mine if id(found[i]) in learnt]
        left = [likely[i] for i in mine if id(found[i]) not in learnt]
        assert len(taken) == min(2, len(mine))
        assert not left or max(taken) <= min(left)
    order = [id(one) for one in found if id(one) in learnt]
    assert [id(one) for one in kept] == order, "as they were asked"


def test_what_is_hard_depends_on_the_adapter_it_is_asked_of(models: Models) -> None:
    examples = from_samples(make_samples(models.pair, 8), models.pair.token_space)
    found = ask_more(models, examples, 6, SETTINGS, np.random.default_rng(1))
    rng = np.random.default_rng(2)
    other = {
        name: value + rng.normal(0.0, 0.5, value.shape).astype(np.float32)
        for name, value in models.initial.items()
    }
    first = hardest(models, models.initial, found, 1, SETTINGS)
    second = hardest(models, other, found, 1, SETTINGS)
    assert [id(one) for one in first] != [id(one) for one in second]
    assert hardest(models, other, [], 1, SETTINGS) == []
    [only] = hardest(models, other, [replace(examples[0], answer=(5, 2))], 3, SETTINGS)
    assert only.answer == (5, 2)
