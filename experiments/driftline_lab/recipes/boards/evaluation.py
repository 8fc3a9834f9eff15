"""Accuracy of greedy answers on cached tokens by kind of question, packed by picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch
from transformers import LlavaForConditionalGeneration

from driftline_lab.data.boards.questions import ONE_SQUARE, Asked, Kind
from driftline_lab.data.boards.views import asked_of
from driftline_lab.recipes.boards.language import NUM_VISUAL
from driftline_lab.recipes.boards.token_cache import Boards
from driftline_lab.recipes.boards.training import Encoder
from driftline_lab.recipes.packing import IGNORE, Packed, last_states, pack, spliced

QUESTIONS_PER_VIEW = 16
KEYS: tuple[str, ...] = ("all", "one_square", *(kind.value for kind in Kind))


def accuracy(
    model: LlavaForConditionalGeneration,
    boards: Boards,
    encoder: Encoder,
    *,
    batch_size: int = 25,
) -> dict[str, float]:
    """{key of `KEYS`: share of questions answered exactly}, from all tokens, 16 a view."""
    right: Counter[str] = Counter()
    asked_number: Counter[str] = Counter()
    for first in range(0, len(boards.numbers), batch_size):
        numbers = boards.numbers[first : first + batch_size]
        rows = [asked_of(boards.domain, int(n), QUESTIONS_PER_VIEW) for n in numbers]
        packed = packed_rows(rows, encoder)
        visual = torch.from_numpy(boards.tokens[first : first + batch_size]).float()
        with torch.inference_mode():
            words = model.model.language_model.embed_tokens(packed.input_ids)
            embeds = spliced(words, model.model.multi_modal_projector(visual))
            guessed = model.lm_head(last_states(model.model.language_model, embeds, packed)).argmax(
                -1
            )
        wrong = (guessed != packed.labels) & (packed.labels != IGNORE)
        for row, asked in enumerate(rows):
            # The first answer token is predicted at the question's end: same segment.
            missed = set(packed.segments[row][wrong[row]].tolist())
            for number, one in enumerate(asked, start=1):
                for key in keys_of(one):
                    asked_number[key] += 1
                    right[key] += number not in missed
    return {key: right[key] / max(1, asked_number[key]) for key in KEYS}


def keys_of(asked: Asked) -> tuple[str, ...]:
    """What a question counts for."""
    kind = asked.kind
    return ("all", kind, "one_square") if kind in ONE_SQUARE else ("all", kind)


def packed_rows(rows: list[list[Asked]], encoder: Encoder) -> Packed:
    """Rows of all 64 visual tokens and the questions of a picture."""
    kept = np.tile(np.arange(NUM_VISUAL), (len(rows), 1))
    return pack(
        [[encoder.segment(each) for each in row] for row in rows],
        kept,
        num_visual=NUM_VISUAL,
        start_ids=(int(encoder.tokenizer.bos_token_id),),
        pad_id=int(encoder.tokenizer.pad_token_id),
    )


Measured = Mapping[str, Mapping[str, Mapping[str, float]]]
"""{role: {domain: {key of `KEYS`: accuracy in 0..1}}}"""
