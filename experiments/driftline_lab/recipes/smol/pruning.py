"""Which layers the student keeps: the least needed one goes, again and again.

Needed is what raises the cross-entropy of a few plain sentences most when it is gone (greedy
removal; compare ShortGPT, arXiv 2403.03853, whose one-shot scores break this small model: ten of
its thirty layers then say nothing sensible at all).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaModel, PreTrainedTokenizerFast

from driftline_shared.assembly.packages import Tensors
from driftline_shared.assembly.smollm2 import END, START, language_config

_TALK = (
    (
        "The monkey sat in the tree and ate a banana. What kind of thing is a monkey?",
        "A monkey is an animal, a mammal that lives in trees and eats fruit.",
    ),
    (
        "Describe the picture of a red apple on a table.",
        "The picture shows a red apple. An apple is a fruit that you can eat.",
    ),
    (
        "Is a violin a musical instrument or a vehicle?",
        "A violin is a musical instrument with four strings played with a bow.",
    ),
    ("What is a hammer used for?", "A hammer is a tool used to drive nails into wood."),
)


def choose_layers(base: Tensors, tokenizer: PreTrainedTokenizerFast, number: int) -> list[int]:
    """Numbers of the layers kept, in order (about a minute)."""
    model = LlamaModel(language_config())
    model.load_state_dict({name: torch.tensor(value) for name, value in base.items()})
    model = model.bfloat16().eval()
    texts = [f"{START}user\n{asked}{END}\n{START}assistant\n{reply}{END}" for asked, reply in _TALK]
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
    wanted = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    layers = list(model.layers)
    kept = list(range(len(layers)))
    while len(kept) > number:
        losses = {i: _loss(model, layers, [j for j in kept if j != i], batch, wanted) for i in kept}
        kept.remove(min(losses, key=losses.__getitem__))
    return kept


def _loss(
    model: LlamaModel,
    layers: list[nn.Module],
    kept: list[int],
    batch: dict[str, Tensor],
    wanted: Tensor,
) -> float:
    """Mean cross-entropy of the next token with only the `kept` layers."""
    model.layers = nn.ModuleList([layers[i] for i in kept])
    model.config.num_hidden_layers = len(kept)
    with torch.inference_mode():
        hidden = model(**batch, use_cache=False).last_hidden_state
        logits = (hidden @ model.embed_tokens.weight.T).float()
    return float(F.cross_entropy(logits[:, :-1].flatten(0, 1), wanted[:, 1:].flatten()))
