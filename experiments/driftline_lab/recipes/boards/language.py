"""The two LLaVA models of the pair."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import (
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    SiglipVisionModel,
)
from transformers.models.llama.modeling_llama import rotate_half

from driftline_lab.data.boards.positions import SQUARES
from driftline_lab.recipes.tiny.language import LanguageSize, build_llava

NUM_VISUAL = 64
WORD_STD = 0.4
"""Of new word embeddings. At the usual 0.02 no model of this size learnt to look a square up."""

_SHARPNESS = 3.0
_ASKED_AT = 69
"""About where a question names its square: "what stands on e4?" begins at 65."""

STUDENT = LanguageSize(width=128, num_layers=4, intermediate=352)
TEACHER = LanguageSize(width=160, num_layers=4, intermediate=448)


def build_model(
    size: LanguageSize,
    tokenizer: PreTrainedTokenizerFast,
    tower: SiglipVisionModel,
    tokens: NDArray[np.float16],
    *,
    seed: int,
) -> LlavaForConditionalGeneration:
    """A LLaVA with the given frozen tower that can begin to look squares up.

    `tokens` (N, V, D): of any pictures. Weights have the deviation 1 / sqrt(width): at Llama's
    usual 0.02, made for a width of thousands, every attention score begins at nearly zero. The
    first layer's queries are fitted so that the word of a square asks for what the keys of its
    tokens have in common (`fit_queries`).
    """
    model = build_llava(size, tokenizer, tower, seed=seed)
    language = model.model.language_model
    projector = model.model.multi_modal_projector
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        words = nn.init.normal_(language.embed_tokens.weight, std=WORD_STD, generator=generator)
        for each in language.layers.modules():
            if isinstance(each, nn.Linear):
                each.weight.mul_(each.in_features**-0.5 / each.weight.std())
        some = torch.from_numpy(tokens).float()
        seen = projector(some)
        projector.linear_2.weight.mul_(WORD_STD / seen.std(dim=(0, 1)).mean())
        projector.linear_2.bias.sub_(projector(some).mean(dim=(0, 1)))
        ids = [tokenizer.encode(f" {name}", add_special_tokens=False)[0] for name in SQUARES]
        fit_queries(language, words[ids], projector(some))
    return model


def fit_queries(language: Any, words: Tensor, seen: Tensor) -> None:
    """Makes the first layer's query of `words` (V, W) the mean key of that square in `seen`.

    `seen` (N, V, W): projected tokens. With c_v the mean of a square's normed tokens less the mean
    of all, and R(p) the rotation of position p, the query of word v is a R(1 + v - p) W_k c_v: at
    position p its score with a key of square v is a |W_k c_v|^2 / sqrt(d). The least change of W_q
    that gives it: W_q + (Q - W_q X) X^+, for normed words X.
    """
    layer = language.layers[0]
    attention = layer.self_attn
    common = layer.input_layernorm(seen).mean(dim=0)
    keys = attention.k_proj(common - common.mean(dim=0)).unflatten(-1, (-1, attention.head_dim))
    offset = torch.arange(len(words)) + 1 - _ASKED_AT
    cos, sin = language.rotary_emb(keys, offset[None])
    turned = keys * cos[0][:, None] + rotate_half(keys) * sin[0][:, None]
    wanted = (_SHARPNESS * turned).flatten(1)  # (V, heads * d)
    normed = layer.input_layernorm(words)
    missing = wanted - attention.q_proj(normed)
    attention.q_proj.weight.add_((torch.linalg.pinv(normed) @ missing).T)
