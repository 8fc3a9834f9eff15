"""The tokenizer of the pair: a small byte-level BPE that has read questions, not answers.

Answers are left out of its text on purpose: `rectangle` or `yes` at the start of an answer is
then several pieces, and both models *spell* what they answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from driftline_lab.data.easyvqa import Part, examples
from driftline_lab.drift.reworded import all_phrasings

PAD, START, END, IMAGE = "<pad>", "<s>", "</s>", "<image>"
VOCABULARY_SIZE = 512


def prompt(question: str) -> str:
    """The text before the answer; `<image>` stands for all visual tokens of the picture."""
    return f"{START}{IMAGE}{question}\n"


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Learnt from every source phrasing and rewording once; ids 0-3 are pad, start, end, image."""
    sentences = sorted({example.question for example in examples(Part.TRAIN)})
    return byte_level_bpe([*sentences, *all_phrasings()], {"image_token": IMAGE}, max_length=256)


def byte_level_bpe(
    texts: Iterable[str],
    visual_tokens: Mapping[str, str],
    *,
    max_length: int,
    word: str | None = None,
    size: int = VOCABULARY_SIZE,
) -> PreTrainedTokenizerFast:
    """Learnt from `texts`; pad, start and end are ids 0-2, before `visual_tokens`, name -> text.

    `word`: a regular expression of what is merged at most, by default GPT-2's words, which part
    letters from digits.
    """
    tokenizer = Tokenizer(models.BPE())
    if word is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(word), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, START, END, *visual_tokens.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        extra_special_tokens=dict(visual_tokens),
        model_max_length=max_length,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer saved in a checkpoint folder."""
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    return tokenizer
