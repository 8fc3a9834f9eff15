"""The tokenizer of the pair: a byte-level BPE in which each square's name is one token.

GPT-2's words part letters from digits, and `e4` would be two tokens; the look-up of a square would
then need one step more before it begins.
"""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

from driftline_lab.data.boards.positions import SQUARES
from driftline_lab.data.boards.questions import all_questions
from driftline_lab.data.boards.sets import PIECES
from driftline_lab.recipes.tiny.tokenizer import IMAGE, byte_level_bpe
from driftline_shared.errors import ConfigError

_WORD = r" ?[a-z0-9]+|[^a-z0-9 ]| "
_SIZE = 640


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Learnt from every question and answer once; ids 0-3 are pad, start, end, image."""
    answers = [*PIECES, "white", "black", "yes", "no", *map(str, range(9))]
    tokenizer = byte_level_bpe(
        [f"{question}\n" for question in all_questions()] + answers,
        {"image_token": IMAGE},
        max_length=256,
        word=_WORD,
        size=_SIZE,
    )
    for name in SQUARES:
        if len(tokenizer.encode(f" {name}", add_special_tokens=False)) != 1:
            raise ConfigError(f"the tokenizer spells the square {name} in pieces; raise its size")
    return tokenizer
