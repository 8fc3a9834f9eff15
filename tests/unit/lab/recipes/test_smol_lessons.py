"""What the recipe of `smol` asks, and in which rows: prompts as devices write them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from driftline_lab.data.openmoji.concepts import concepts
from driftline_lab.recipes.packing import IGNORE
from driftline_lab.recipes.smol.learner import START_IDS
from driftline_lab.recipes.smol.lessons import (
    KEEP_SHARES,
    PROMPT,
    Lessons,
    draw_kept,
    segment,
    segments_of,
)
from driftline_lab.recipes.smol.training import Plan
from driftline_shared.assembly import smollm2

# The tokenizer is read from the packaged language model, which is unpacked whole.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return smollm2.tokenizer(smollm2.open_gguf())


def test_start_picture_and_question_are_the_prompt(tokenizer: PreTrainedTokenizerFast) -> None:
    whole = tokenizer.encode(PROMPT.format(question="what is it?") + "an owl<|im_end|>")
    parts = segment(tokenizer, "what is it?", "an owl")
    assert whole == [*START_IDS, smollm2.IMAGE_ID, *parts.question, *parts.answer]


def test_every_concept_is_asked_and_every_draw_has_answers(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    segments = segments_of(tokenizer)
    assert len(segments) == len(concepts())
    tokens = np.zeros((len(segments), 2, 49, 3), dtype=np.float16)
    tokens += np.arange(49, dtype=np.float16)[:, None]
    lessons = Lessons(segments=segments, tokens={"source": tokens})
    for seed in range(8):
        packed, visual = lessons.draw(3, 2, np.random.default_rng(seed))
        kept = visual[:, :, 0].long()
        assert packed.question_ends.sum(dim=1).tolist() == [2, 2, 2]
        assert bool((packed.labels != IGNORE).any(dim=1).all())
        start = len(START_IDS)
        places = packed.position_ids[:, start : start + kept.shape[1]]
        # A row's visual tokens are those of the places it says, at their original positions.
        assert torch.equal(places, start + kept)


def test_kept_tokens_are_distinct_and_sorted() -> None:
    for share in KEEP_SHARES:
        kept = draw_kept(5, share, np.random.default_rng(0))
        assert kept.shape == (5, max(6, round(49 * share)))
        assert bool((np.diff(kept, axis=1) > 0).all())


def test_a_shared_plan_warms_up_and_cools_down_within_its_steps() -> None:
    plan = Plan(num_warm_steps=100, num_steps=200, learning_rate=1.0).shared(0.1)
    rates = [plan.rate(step) for step in range(plan.num_steps)]
    assert (plan.num_warm_steps, plan.num_steps, plan.warmup_steps) == (10, 20, 3)
    assert max(rates) == rates[2] == 1.0
    assert rates[-1] < 0.1
    assert Plan(num_warm_steps=9, num_steps=9, learning_rate=1.0).shared(0.01).num_steps == 2
