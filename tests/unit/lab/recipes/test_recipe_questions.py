"""Questions that the recipe asks beyond the data set are answered as the data set answers."""

from __future__ import annotations

import pytest

from driftline_lab.data.easyvqa import Facts, Part, examples, facts_of
from driftline_lab.recipes.tiny.questions import answer_of, askable, source_questions, worded


def test_answers_from_facts_agree_with_the_data_set() -> None:
    for part in Part:
        for example in examples(part):
            told = answer_of(example.question, facts_of(example.image_id))
            assert told in (None, example.answer)


def test_a_full_figure_can_be_asked_nearly_everything() -> None:
    asked = askable(Facts(shape="circle", colour="red"))
    assert len(source_questions()) == 107
    assert len(asked.pairs) == 96  # all but those that name another figure
    assert asked.chances.sum() == pytest.approx(1.0)
    yes = sum(
        c for (_, answer), c in zip(asked.pairs, asked.chances, strict=True) if answer == "yes"
    )
    no = sum(c for (_, answer), c in zip(asked.pairs, asked.chances, strict=True) if answer == "no")
    assert yes == pytest.approx(no)


def test_unknown_facts_are_not_asked_for() -> None:
    answers = {answer for _, answer in askable(Facts(shape=None, colour="red")).pairs}
    assert answers == {"red", "yes", "no"}


def test_rewordings_share_the_chance_of_their_question() -> None:
    facts = Facts(shape="circle", colour="red")
    asked = worded(facts, "reworded")
    assert len(asked.pairs) > len(askable(facts).pairs)
    assert asked.chances.sum() == pytest.approx(1.0)
    assert worded(facts, "night") is askable(facts)
