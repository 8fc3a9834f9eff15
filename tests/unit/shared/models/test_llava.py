"""The subset oracle: our path equals transformers' own, with all tokens and with some."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration

from driftline_shared.errors import PairError
from driftline_shared.models.families.llava import LlavaModel
from driftline_shared.models.multimodal import IGNORED, load_model
from driftline_shared.models.pair import Pair
from tests.fakes.tiny_pair import NUM_TOKENS, QUESTIONS, random_image

IMAGES = [random_image(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def model(pair: Pair) -> LlavaModel:
    loaded = load_model(pair.teacher_dir, prompt=pair.prompt)
    assert isinstance(loaded, LlavaModel)
    return loaded


@pytest.fixture(scope="module")
def library(pair: Pair) -> LlavaForConditionalGeneration:
    return LlavaForConditionalGeneration.from_pretrained(pair.teacher_dir).eval()


def all_positions(rows: int) -> torch.Tensor:
    return torch.arange(NUM_TOKENS).expand(rows, -1)


def prompt_ids(model: LlavaModel, question: str) -> torch.Tensor:
    text = f"<s>{'<image>' * NUM_TOKENS}{question}\n"
    return torch.tensor([model.tokenizer(text, add_special_tokens=False)["input_ids"]])


def pixels(model: LlavaModel, image: np.ndarray) -> torch.Tensor:
    return model.processor(images=[Image.fromarray(image)], return_tensors="pt")["pixel_values"]


@torch.no_grad()
def test_all_tokens_give_the_librarys_logits(model, library) -> None:
    for image, question in zip(IMAGES, QUESTIONS, strict=True):
        ids = prompt_ids(model, question)
        wanted = library(
            input_ids=ids, pixel_values=pixels(model, image), attention_mask=torch.ones_like(ids)
        ).logits
        batch = model.batch(model.project(model.encode([image])), all_positions(1), [question])
        assert torch.allclose(model.forward(batch).logits, wanted, atol=1e-4)


@torch.no_grad()
def test_all_tokens_give_the_librarys_text(model, library) -> None:
    for image, question in zip(IMAGES, QUESTIONS, strict=True):
        ids = prompt_ids(model, question)
        wanted = library.generate(
            input_ids=ids,
            pixel_values=pixels(model, image),
            attention_mask=torch.ones_like(ids),
            max_new_tokens=4,
            do_sample=False,
        )[0, ids.shape[1] :].tolist()
        batch = model.batch(model.project(model.encode([image])), all_positions(1), [question])
        assert model.generate(batch, 4).tokens[0] == wanted


@torch.no_grad()
def test_a_subset_gives_the_librarys_logits_at_the_original_positions(model, library) -> None:
    kept = torch.tensor([[1, 2, 7, 11, 15]])
    projected = model.project(model.encode(IMAGES[:1])[:, kept[0]])
    got = model.forward(model.batch(projected, kept, QUESTIONS[:1])).logits

    ids = prompt_ids(model, QUESTIONS[0])
    embeds = library.get_input_embeddings()(ids)
    # The library's own run: the same rows of embeddings, the positions they had, nothing masked.
    rows = torch.cat([torch.tensor([0]), 1 + kept[0], torch.arange(1 + NUM_TOKENS, ids.shape[1])])
    embeds = embeds[:, rows]
    embeds[:, 1 : 1 + kept.shape[1]] = projected
    wanted = library(
        inputs_embeds=embeds,
        position_ids=rows[None],
        attention_mask=torch.ones(1, len(rows), dtype=torch.long),
    ).logits
    assert torch.allclose(got, wanted, atol=1e-4)


@torch.no_grad()
def test_a_padded_batch_answers_as_single_rows_do(model) -> None:
    tokens = model.encode(IMAGES)
    together = model.generate(
        model.batch(model.project(tokens), all_positions(3), QUESTIONS), max_new_tokens=4
    )
    for row, question in enumerate(QUESTIONS):
        alone = model.generate(
            model.batch(model.project(tokens[row : row + 1]), all_positions(1), [question]), 4
        )
        assert together.tokens[row] == alone.tokens[0]
        n = len(alone.tokens[0])
        np.testing.assert_allclose(together.entropy[row, :n], alone.entropy[0, :n], atol=1e-4)


@torch.no_grad()
def test_training_rows_score_what_generation_saw(model) -> None:
    """Right-padded rows with the generated answer give the probabilities generation reported."""
    tokens = model.encode(IMAGES)
    projected = model.project(tokens)
    made = model.generate(model.batch(projected, all_positions(3), QUESTIONS), 4)
    batch = model.batch(projected, all_positions(3), QUESTIONS, made.tokens)
    logits = model.forward(batch).logits
    for row, ids in enumerate(made.tokens):
        places = (batch.labels[row] != IGNORED).nonzero()[:, 0]
        assert batch.labels[row, places].tolist() == ids
        p = logits[row, places - 1].softmax(-1).max(-1).values.numpy()
        np.testing.assert_allclose(p, made.top1[row, : len(ids)], atol=1e-4)


def test_visual_tokens_lie_where_the_batch_says(model) -> None:
    tokens = model.encode(IMAGES)
    projected = model.project(tokens)
    batch = model.batch(projected, all_positions(3), QUESTIONS)
    for row, places in enumerate(batch.visual):
        assert torch.equal(batch.inputs_embeds[row, places], projected[row])


@pytest.mark.parametrize("prompt", ["{question}", "<image>", "<image><image>{question}"])
def test_a_prompt_without_one_image_and_one_question_is_refused(pair: Pair, prompt: str) -> None:
    with pytest.raises(PairError, match="prompt"):
        load_model(pair.student_dir, prompt=prompt)
