"""Concepts, their split, and what is asked about them."""

from __future__ import annotations

from collections import Counter

import pytest

from driftline_lab.data.openmoji.concepts import Role, concepts, role_of
from driftline_lab.data.openmoji.groups import EDIBLE, GROUP_PHRASES, GROUPS
from driftline_lab.data.openmoji.questions import (
    CAPTION_QUESTION,
    EAT_QUESTION,
    GROUP_QUESTION,
    NAME_QUESTION,
    caption,
    questions,
    reference_captions,
)
from tests.fakes.concepts import concept_of


def test_names_are_short_plain_and_each_once() -> None:
    found = concepts()
    assert 300 <= len(found) <= 350
    assert len({concept.name for concept in found}) == len(found)
    assert len({concept.code for concept in found}) == len(found)
    for concept in found:
        assert concept.name == concept.name.lower().strip()
        assert 1 <= len(concept.name.split()) <= 2
        assert concept.group == GROUPS[concept.subgroup]


def test_known_things_are_there_and_confusing_ones_are_not() -> None:
    names = {concept.name for concept in concepts()}
    assert {"red apple", "dog", "hammer", "violin", "ambulance", "castle", "owl"} <= names
    assert not names & {"dog face", "oncoming bus", "guide dog", "blue book", "joker"}


def test_the_split_is_disjoint_whole_and_alike_in_every_group() -> None:
    seen, unseen = set(concepts(Role.SEEN)), set(concepts(Role.UNSEEN))
    assert not seen & unseen
    assert seen | unseen == set(concepts())
    for group in GROUP_PHRASES:
        sizes = [sum(c.group == group for c in part) for part in (seen, unseen)]
        assert sizes[0] / sum(sizes) == pytest.approx(0.6, abs=0.11), group


def test_the_split_stays_what_it_is() -> None:
    # A changed split would put concepts that a shipped pair was tested on into its training.
    first = [concept.name for concept in concepts(Role.UNSEEN)][:5]
    assert first == ["wolf", "fox", "raccoon", "cat", "horse"]
    assert len(concepts(Role.SEEN)) == 199
    assert role_of(concept_of("1F43A")) is Role.UNSEEN


def test_questions_of_an_apple() -> None:
    rows = dict(questions(concept_of("1F34E")))
    assert rows[NAME_QUESTION] == "red apple"
    assert rows[GROUP_QUESTION] == "fruit"
    assert rows["is it a fruit?"] == "yes"
    assert rows[EAT_QUESTION] == "yes"
    assert rows[CAPTION_QUESTION] == "a red apple"


@pytest.mark.parametrize("role", Role)
def test_a_yes_no_question_alone_tells_nothing(role: Role) -> None:
    told: dict[str, Counter[str]] = {}
    for concept in concepts(role):
        for question, answer in questions(concept):
            if answer in ("yes", "no"):
                told.setdefault(question, Counter())[answer] += 1
    assert len(told) == len(GROUP_PHRASES) + 1
    for question, counts in told.items():
        assert counts["yes"] == counts["no"], question


def test_answers_are_true() -> None:
    for concept in concepts():
        rows = questions(concept)
        assert len({question for question, _ in rows}) == len(rows)
        for group, phrase in GROUP_PHRASES.items():
            answer = dict(rows).get(f"is it {phrase}?")
            assert answer in (None, "yes" if concept.group == group else "no")
        eaten = dict(rows).get(EAT_QUESTION)
        assert eaten is None or (eaten == "yes") == (concept.group in EDIBLE)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("red apple", "a red apple"),
        ("owl", "an owl"),
        ("unicorn", "a unicorn"),
        ("one-piece swimsuit", "a one-piece swimsuit"),
        ("octopus", "an octopus"),
        ("dress", "a dress"),
        ("rhinoceros", "a rhinoceros"),
        ("scissors", "scissors"),
        ("skis", "skis"),
        ("bread", "bread"),
        ("bubble tea", "bubble tea"),
    ],
)
def test_captions_have_their_article(name: str, expected: str) -> None:
    assert caption(name) == expected


def test_another_name_gives_another_reference() -> None:
    eggplant = concept_of("1F346")
    assert reference_captions(eggplant) == ("an eggplant", "an aubergine")
    assert dict(questions(eggplant))[CAPTION_QUESTION] == "an eggplant"
