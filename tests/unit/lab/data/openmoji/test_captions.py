"""Caption scores, against values worked out by hand."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from driftline_device.runtime.runtime import Question
from driftline_lab.data.openmoji.captions import (
    check_scorers,
    references_of,
    score_captions,
    tokenise,
)
from driftline_lab.data.openmoji.questions import CAPTION_QUESTION, NAME_QUESTION
from driftline_lab.demo.evaluate import TestSet, accuracy, caption_scores
from driftline_shared.errors import ConfigError


def test_bleu_by_hand() -> None:
    found = score_captions(["A dog.", "an owl"], [["a dog"], ["an eagle"]])
    # "a", "dog", "an" of four words; "a dog" of two pairs; nothing longer exists.
    assert found.bleu == pytest.approx((3 / 4, math.sqrt(3 / 4 * 1 / 2)), abs=1e-6)


def test_a_short_answer_pays_for_its_brevity() -> None:
    found = score_captions(["dog", "owl"], [["a dog"], ["an owl"]])
    assert found.bleu[0] == pytest.approx(math.exp(1 - 4 / 2), abs=1e-6)
    assert found.name_match == 1.0


def test_cider_by_hand() -> None:
    references = [["a dog"], ["a cat"], ["an owl"]]
    found = score_captions(["a dog", "a dog", "an owl"], references)
    # "a" is right for two of three pictures, every other n-gram for one.
    common, rare = math.log(3 / 2), math.log(3)
    same_words = common**2 / (common**2 + rare**2)
    # Right captions match in n-grams of length 1 and 2, of the four lengths that count.
    right, wrong = 10 * 2 / 4, 10 * same_words / 4
    assert found.cider == pytest.approx((right + wrong + right) / 3, abs=1e-6)
    assert found.cider_best == pytest.approx(5.0)
    assert found.name_match == pytest.approx(2 / 3)
    assert found.num_captions == 3


def test_three_words_are_scored_to_bleu_3() -> None:
    found = score_captions(["a red apple", "a dog"], [["a red apple"], ["a dog"]])
    assert found.bleu == pytest.approx((1.0, 1.0, 1.0), abs=1e-6)


def test_another_right_name_matches_and_its_article_does_not_matter() -> None:
    right = [["an eggplant", "an aubergine"]] * 3
    found = score_captions(["an aubergine", "the eggplant", "an egg"], right)
    assert found.name_match == pytest.approx(2 / 3)


def test_nothing_at_all_scores_zero() -> None:
    found = score_captions(["", "?"], [["a dog"], ["an owl"]])
    assert found.cider == 0.0
    assert found.name_match == 0.0
    assert max(found.bleu) < 1e-6


@pytest.mark.parametrize(("said", "references"), [([], []), (["a dog"], [])])
def test_missing_captions_are_refused(said: list[str], references: list[list[str]]) -> None:
    with pytest.raises(ValueError, match="captions"):
        score_captions(said, references)


def test_tokens_are_words() -> None:
    assert tokenise(" A Red  apple, (ripe)!") == "a red apple ripe"
    assert tokenise("a high-heeled shoe") == "a high-heeled shoe"


def test_references_come_from_the_concept_or_are_the_truth_itself() -> None:
    assert references_of("an eggplant") == ("an eggplant", "an aubergine")
    assert references_of("a purple hat") == ("a purple hat",)


def test_a_test_set_is_scored_on_its_caption_rows_alone() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    rows = [
        Question(image=image, text=question, truth=truth, place="test")
        for question, truth in (
            (CAPTION_QUESTION, "a dog"),
            (NAME_QUESTION, "dog"),
            (CAPTION_QUESTION, "an eggplant"),
        )
    ]
    test = TestSet(domain="lineart-seen", rows=rows)
    said = ["a dog", "cat", "an aubergine"]
    found = caption_scores(test, said)
    assert found is not None
    assert (found.num_captions, found.name_match) == (2, 1.0)
    assert accuracy(test, said) == pytest.approx(1 / 3)
    assert caption_scores(TestSet(domain="night", rows=rows[1:2]), ["dog"]) is None


def test_a_missing_scorer_is_told_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap.bleu.bleu", None)
    with pytest.raises(ConfigError, match=r"pycocoevalcap.*driftline\[openmoji\]"):
        check_scorers()


def test_no_java_is_started_and_no_coco_tools_are_loaded() -> None:
    check_scorers()
    loaded = {name for name in sys.modules if name.startswith(("pycocoevalcap.", "pycocotools"))}
    assert loaded, "the scorers are the library's"
    assert not {name for name in loaded if "tokenizer" in name or "pycocotools" in name}
