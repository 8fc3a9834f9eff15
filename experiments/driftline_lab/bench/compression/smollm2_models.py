"""Models for timing: the real SmolLM2-135M behind a tower and projector drawn at random.

    picture   LLaVA, CLIP tower, 24 x 24 patches, a class token       576 visual tokens
    clip      LLaVA-OneVision, SigLIP tower, 16 frames of 6 x 6 cells 576 visual tokens, a newline

Both towers have the size of ViT-S. What comes of random parts means nothing, but takes as long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from driftline_shared.assembly import smollm2
from driftline_shared.errors import PairError
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.loading import load_model
from driftline_shared.pair.pair import Canvas

PROMPT = f"{smollm2.START}user\n<image>\n{{question}}{smollm2.END}\n{smollm2.START}assistant\n"
QUESTION = "What colour is the car that stands to the left of the house with the green door?"

_PATCH = 14
_PICTURE_SIDE, _FRAME_SIDE, _FRAMES = 24 * _PATCH, 12 * _PATCH, 16
_TOWER = {
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "patch_size": _PATCH,
}
_NOTHING_ID = smollm2.IMAGE_ID - 1
"""A reserved token that neither prompts nor answers hold: the placeholder of the kind of picture
that a model is not shown, and the end of an answer.
"""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How visual tokens come to be. `write`: the checkpoint from (folder, seed)."""

    name: str
    canvas: Canvas
    write: Callable[[Path, int], None]
    prompt: str = PROMPT

    @property
    def reads_clips(self) -> bool:
        """Whether its pictures are clips."""
        return self.canvas.frames > 1

    def load(self, folder: Path, seed: int) -> FamilyModel:
        """Write the checkpoint into `folder` (0.6 GB) and load it, float32 on a CPU."""
        self.write(folder, seed)
        model = load_model(folder, prompt=self.prompt, canvas=self.canvas)
        if not isinstance(model, FamilyModel):
            raise PairError(f"{folder} is no checkpoint of a family")
        return model

    def picture(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """(H, W, 3), or (F, H, W, 3) of a clip: noise, of which frames repeat most."""
        shape = (self.canvas.height, self.canvas.width, 3)
        picture = rng.integers(0, 256, shape, dtype=np.uint8)
        if not self.reads_clips:
            return picture
        clip = np.repeat(picture[None], self.canvas.frames, axis=0)
        noise = rng.integers(0, 32, clip.shape, dtype=np.uint8)
        # A quarter of each frame is its own.
        side = self.canvas.height // 2
        for number in range(len(clip)):
            top, left = rng.integers(0, side, 2)
            clip[number, top : top + side, left : left + side] = rng.integers(0, 256, 3)
        return clip ^ noise


def _write_picture_model(folder: Path, seed: int) -> None:
    from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**_TOWER, image_size=_PICTURE_SIDE),
        text_config=smollm2.language_config(),
        image_token_id=smollm2.IMAGE_ID,
        image_seq_length=576,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
        pad_token_id=2,
    )
    torch.manual_seed(seed)
    _save(folder, LlavaForConditionalGeneration(config))
    size = {"height": _PICTURE_SIDE, "width": _PICTURE_SIDE}
    CLIPImageProcessorPil(size=size, crop_size=size).save_pretrained(folder)


def _write_clip_model(folder: Path, seed: int) -> None:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        SiglipVisionConfig,
    )
    from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
        LlavaOnevisionImageProcessorPil,
    )

    grid = [[_FRAME_SIDE, _FRAME_SIDE]]
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**_TOWER, image_size=_FRAME_SIDE, vision_use_head=False),
        text_config=smollm2.language_config(),
        image_token_index=_NOTHING_ID,
        video_token_index=smollm2.IMAGE_ID,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=grid,
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    _save(folder, LlavaOnevisionForConditionalGeneration(config))
    LlavaOnevisionImageProcessorPil(
        size={"height": _FRAME_SIDE, "width": _FRAME_SIDE}, image_grid_pinpoints=grid
    ).save_pretrained(folder)


def _save(folder: Path, net: Any) -> None:
    """The checkpoint, its language model replaced by the real one."""
    from transformers import GenerationConfig
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    reader = smollm2.open_gguf()
    weights = smollm2.read_language_model(reader)
    net.model.language_model.load_state_dict(
        {name: torch.tensor(array) for name, array in weights.items()}
    )
    tokenizer = smollm2.tokenizer(reader)
    # Answers go on, whatever is said: the tokens after the first are timed, too.
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(_NOTHING_ID)
    net.generation_config = GenerationConfig(
        bos_token_id=1, eos_token_id=_NOTHING_ID, pad_token_id=2
    )
    net.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


PICTURE = Layout(
    name="picture, 24 x 24 tokens",
    canvas=Canvas(height=_PICTURE_SIDE, width=_PICTURE_SIDE),
    write=_write_picture_model,
)
CLIP = Layout(
    name="clip, 16 frames of 6 x 6 tokens",
    canvas=Canvas(height=_FRAME_SIDE, width=_FRAME_SIDE, frames=_FRAMES),
    write=_write_clip_model,
)
