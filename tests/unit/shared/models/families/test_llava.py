"""What only LLaVA has: a class token to leave out, several tower layers, prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from driftline_shared.errors import PairError
from driftline_shared.models.loading import load_model
from driftline_shared.pair.pair import Canvas
from tests.fakes.families import llava, whole_logits
from tests.fakes.tiny_pair import (
    PATCH,
    PROMPT,
    QUESTIONS,
    SIZE,
    make_tokenizer,
    random_image,
    text_sizes,
    tower_sizes,
)


def clip_llava(folder: Path, *, layers: int | list[int]) -> Path:
    """As LLaVA-1.5 is: a CLIP tower with a class token, features of an inner layer."""
    tokenizer = make_tokenizer(("<image>",))
    width = 32 * (len(layers) if isinstance(layers, list) else 1)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**tower_sizes(SIZE, PATCH) | {"num_hidden_layers": 3}),
        text_config=LlamaConfig(**text_sizes(tokenizer, width=32, layers=1)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=layers,
        vision_feature_select_strategy="default",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlavaForConditionalGeneration(config)
    assert model.model.multi_modal_projector.linear_1.in_features == width
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    square = {"height": SIZE, "width": SIZE}
    CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size=square).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("layers", [-2, [1, -2]])
@torch.no_grad()
def test_the_class_token_is_left_out_and_layers_lie_side_by_side(
    tmp_path: Path, layers: int | list[int]
) -> None:
    folder = clip_llava(tmp_path, layers=layers)
    model = load_model(folder, prompt=PROMPT)
    library = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    image = random_image(5)[:, :20]  # not square: the family's own processor crops it
    text = PROMPT.replace("<image>", "<image>" * model.num_tokens).format(question=QUESTIONS[0])
    ids = torch.tensor([model.tokenizer(text, add_special_tokens=False)["input_ids"]])
    pixels = processor(images=[Image.fromarray(image)], return_tensors="pt")["pixel_values"]
    wanted = library(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids)).logits
    got = whole_logits(model, image, QUESTIONS[0])
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("prompt", ["{question}", "<image>", "<image><image>{question}"])
def test_a_prompt_without_one_image_and_one_question_is_refused(
    tmp_path: Path, prompt: str
) -> None:
    folder = llava.make_checkpoint(tmp_path, width=32, layers=1)
    with pytest.raises(PairError, match="prompt"):
        load_model(folder, prompt=prompt)


@pytest.mark.parametrize(
    ("prompt", "spaced"),
    [
        ("<s><image>{question}\n", False),
        ("USER: <image>\n{question} ASSISTANT:", True),
        ("USER: <image>\n{question}</s>", False),
        ("<image>{question}", False),
    ],
)
def test_a_given_answer_begins_as_the_model_would_begin_it(
    tmp_path: Path, prompt: str, spaced: bool
) -> None:
    model = load_model(llava.make_checkpoint(tmp_path, width=32, layers=1), prompt=prompt)
    ids = model.answer_ids("teal")
    assert model.answer_ids(" teal") == ids
    assert (model.tokenizer.decode(ids[:-1]) == " teal") == spaced
    assert model.decode(ids) == "teal"


def test_clips_are_refused(tmp_path: Path) -> None:
    folder = llava.make_checkpoint(tmp_path / "model", width=32, layers=1)
    with pytest.raises(PairError, match="not clips of 2 frames; write frames = 1"):
        load_model(folder, prompt=PROMPT, canvas=Canvas(height=SIZE, width=SIZE, frames=2))
