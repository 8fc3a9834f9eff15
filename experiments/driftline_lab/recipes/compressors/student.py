"""The student that a compressor is trained into: its model in float32, its data, its facts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from driftline_lab.data.domains import SOURCE
from driftline_lab.data.easyvqa import Part
from driftline_lab.recipes.tiny.language import NUM_VISUAL
from driftline_lab.recipes.tiny.questions import Encoder
from driftline_lab.recipes.tiny.tokenizer import load_tokenizer, prompt
from driftline_lab.recipes.tiny.training import View
from driftline_lab.recipes.tiny.views import Gallery
from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressor import ModelFacts
from driftline_shared.models.compression.tower import num_blocks
from driftline_shared.pair.pair import Pair

Questions = Literal["own", "all"]


@dataclass(frozen=True, kw_only=True)
class Student:
    """One student of the world easy-VQA. `start_id`, `pad_id`: of its tokenizer."""

    model: LlavaForConditionalGeneration
    tokenizer: PreTrainedTokenizerFast
    facts: ModelFacts
    start_id: int
    pad_id: int


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """Its own domain: views that it learns from and, of other pictures, those it is measured on."""

    train: list[View]
    test: list[View]


def load_student(pair: Pair) -> Student:
    """The student of a pair made by `driftline lab build-pair tiny`. Raises ConfigError for others:
    the packed rows of this recipe know one prompt and one grid.
    """
    same_prompt = pair.prompt == prompt("{question}")
    if not same_prompt or pair.token_space.grid.num_tokens != NUM_VISUAL:
        raise ConfigError(
            f"{pair.name}: compressors are trained on the pair `tiny` and copies of it: prompt "
            f"{prompt('{question}')!r} and {NUM_VISUAL} visual tokens, not {pair.prompt!r} and "
            f"{pair.token_space.grid.num_tokens}"
        )
    model = LlavaForConditionalGeneration.from_pretrained(
        pair.student_dir, dtype=torch.float32, local_files_only=True
    ).eval()
    tokenizer = load_tokenizer(pair.student_dir)
    text = model.config.text_config
    facts = ModelFacts(
        num_layers=text.num_hidden_layers,
        num_heads=text.num_attention_heads,
        num_key_heads=text.num_key_value_heads,
        head_width=text.hidden_size // text.num_attention_heads,
        width=text.hidden_size,
        inner=text.intermediate_size,
        vocabulary=text.vocab_size,
        tower_width=model.config.vision_config.hidden_size,
        grid=pair.token_space.grid,
        tower_blocks=num_blocks(model.config),
        tower_heads=model.config.vision_config.num_attention_heads,
    )
    return Student(
        model=model,
        tokenizer=tokenizer,
        facts=facts,
        start_id=int(tokenizer.bos_token_id),
        pad_id=int(tokenizer.pad_token_id),
    )


def load_lessons(student: Student, work: Path, questions: Questions = "all") -> Lessons:
    """The data set's train and test pictures; tokens are cached below `work`.

    `questions` to learn from: the data set's `own`, about ten a picture, or `all` of its questions
    that what these tell of a picture answers. Tests are its own.
    """
    gallery = Gallery(
        folder=work / "tokens",
        tower=student.model.model.vision_tower,
        encoder=Encoder(tokenizer=student.tokenizer),
    )
    return Lessons(
        train=(
            gallery.views(SOURCE, Part.TRAIN)
            if questions == "own"
            else gallery.training_views(SOURCE)
        ),
        test=gallery.views(SOURCE, Part.TEST),
    )
