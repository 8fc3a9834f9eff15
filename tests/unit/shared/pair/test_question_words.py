"""Which tokens behind an image are the question's own."""

from __future__ import annotations

from driftline_shared.pair.question_words import QuestionWords


def ids(text: str) -> list[int]:
    """A token a character."""
    return [ord(character) for character in text]


def test_what_all_questions_share_is_the_templates() -> None:
    words = QuestionWords.of_template(lambda question: ids(f"Q: {question}\nA:"))
    assert (words.before, words.behind) == (3, 3)
    # The image ends at place 10; "Q: why?\nA:" lies behind it.
    assert list(words.places(10, 20)) == [13, 14, 15, 16]


def test_a_question_alone_is_all_its_own() -> None:
    words = QuestionWords.of_template(ids)
    assert list(words.places(5, 9)) == [5, 6, 7, 8]


def test_an_empty_question_has_the_templates_words() -> None:
    words = QuestionWords.of_template(lambda question: ids(f"Q: {question}\nA:"))
    assert list(words.places(10, 16)) == [10, 11, 12, 13, 14, 15]


def test_a_token_that_holds_both_is_the_questions() -> None:
    def merged(question: str) -> list[int]:
        """A tokenizer that makes "?" and what follows one token."""
        return [999] if question == "?" else [*ids(question), 10]

    assert QuestionWords.of_template(merged).behind == 0


def test_a_template_that_repeats_itself_is_not_counted_twice() -> None:
    words = QuestionWords.of_template(lambda question: ids(f"--{question}--"))
    assert (words.before, words.behind) == (2, 2)
