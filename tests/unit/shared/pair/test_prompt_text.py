"""Whatever a question spells is text: under tokenizers of every kind, with any question."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordLevelTrainer

from driftline_shared.errors import DataError, PairError
from driftline_shared.pair.prompt_text import PromptText, check_length, read_by

TEMPLATE = "<s>user: <image>\n{question}<end>\nassistant:"
SPECIAL = ["<unk>", "<s>", "<end>", "<image>"]
CORPUS = ["what shape is it?", "how many circles are there, 12 or 3?", "user: assistant:"] * 20


def byte_bpe() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        CORPUS,
        BpeTrainer(
            vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return made


def metaspace_unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.train_from_iterator(
        CORPUS,
        UnigramTrainer(
            vocab_size=80, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
        ),
    )
    return made


def lowercase_words() -> Tokenizer:
    """Control tokens are words of the vocabulary, too, and one is matched after lowercasing."""
    made = Tokenizer(models.WordLevel(unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.train_from_iterator(CORPUS, WordLevelTrainer(special_tokens=SPECIAL, show_progress=False))
    made.add_tokens([AddedToken("<tool_call>", special=False, normalized=True)])
    return made


def added_later() -> Tokenizer:
    """Control tokens beyond the model's vocabulary, and a beginning that the tokenizer writes."""
    made = byte_bpe()
    made.add_special_tokens([AddedToken("<|turn|>", lstrip=True, rstrip=True)])
    made.add_tokens([AddedToken("circles", special=False, normalized=False)])
    begin = made.token_to_id("<s>")
    made.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin)])
    return made


MAKERS = (byte_bpe, metaspace_unigram, lowercase_words, added_later)


def prompt(maker: Callable[[], Tokenizer]) -> tuple[Tokenizer, PromptText]:
    tokenizer = maker()
    image_id = tokenizer.token_to_id("<image>")
    made = read_by(
        tokenizer, TEMPLATE, image_id=image_id, image_token="<image>", add_special_tokens=True
    )
    return tokenizer, made


ALL = [prompt(maker) for maker in MAKERS]
SPELLED = (
    *SPECIAL, "<tool_call>", "<TOOL_CALL>", "<|turn|>", "<im<image>age>", "<im<im<image>age>age>",
    "＜image＞", "<", ">", "image>", "<imag", "|>", "{question}", "what shape", " ", "\n", "🙂",
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(parts=st.lists(st.one_of(st.sampled_from(SPELLED), st.text(max_size=8)), max_size=6))
@pytest.mark.parametrize("number", range(len(ALL)), ids=[maker.__name__ for maker in MAKERS])
def test_no_question_adds_or_takes_a_control_token(number: int, parts: list[str]) -> None:
    tokenizer, made = ALL[number]
    question = "".join(parts)
    try:
        question.encode()
    except UnicodeEncodeError:
        with pytest.raises(DataError):
            made.around(question)
        return
    unknown = tokenizer.token_to_id("<unk>")  # what stands for a word that is not known
    control = {
        token_id
        for token_id, token in tokenizer.get_added_tokens_decoder().items()
        if token.content != "circles" and token_id != unknown
    }
    before, after = made.around(question)
    plain_before, plain_after = made.around("?")
    assert before == plain_before
    marks = [each for each in plain_after if each in control]
    assert [each for each in after if each in control] == marks
    usual = tokenizer.encode(TEMPLATE.replace("{question}", question)).ids
    at = usual.index(tokenizer.token_to_id("<image>"))
    if "<unk>" not in question and [e for e in usual[at + 1 :] if e in control] == marks:
        assert [*usual[:at], *usual[at + 1 :]] == [*before, *after]


@pytest.mark.parametrize("number", (0, 3))
def test_a_spelled_token_reads_as_its_characters(number: int) -> None:
    tokenizer, made = ALL[number]
    _, after = made.around("what is <im<image>age> <end>, circles?")
    assert "what is <im<image>age> <end>, circles?" in tokenizer.decode(
        after, skip_special_tokens=True
    )


def test_words_of_the_question_are_told_apart_from_the_template() -> None:
    tokenizer, made = ALL[0]
    _, after = made.around("what shape is it?")
    places = made.words.places(0, len(after))
    assert tokenizer.decode([after[place] for place in places]).strip() == "what shape is it?"


def test_an_image_token_that_is_not_one_token_is_refused() -> None:
    with pytest.raises(PairError, match="image token '<picture>'"):
        read_by(byte_bpe(), TEMPLATE, image_id=9, image_token="<picture>", add_special_tokens=True)


def test_a_prompt_may_fill_what_there_is_and_no_place_more() -> None:
    check_length(100, num_own=40, longest=100)
    with pytest.raises(DataError, match="is 40 tokens long, and this model has room for 39 "):
        check_length(101, num_own=40, longest=100)
    with pytest.raises(DataError, match="room for 0 "):
        check_length(500, num_own=40, longest=100)
