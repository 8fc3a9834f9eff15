"""Accuracies of what is shipped: assembled checkpoints, the student quantized as devices run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from driftline_lab.data.openmoji.concepts import Role, concepts, role_of
from driftline_lab.data.openmoji.questions import CAPTION_QUESTION, GROUP_QUESTION, NAME_QUESTION
from driftline_lab.recipes.packing import Packed, last_states, spliced
from driftline_lab.recipes.smol.evaluation import Scored, score
from driftline_lab.recipes.smol.learner import START_IDS
from driftline_lab.recipes.smol.lessons import PROMPT, Lessons
from driftline_shared.assembly.assemble import assembled
from driftline_shared.models.loading import load_model
from driftline_shared.models.multimodal import MultimodalModel

SHARES = (1.0, 0.5, 0.25)

Measured = Mapping[str, Mapping[float, Mapping[str, Mapping[str, float]]]]
"""{role: {share of visual tokens: {style: {what: accuracy in 0..1}}}}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointReader:
    """A loaded checkpoint as a `Reader`. `half`: products in bfloat16, three times as fast."""

    model: MultimodalModel
    half: bool

    def hidden(self, packed: Packed, visual: Tensor) -> Tensor:
        """See `Reader`."""
        net: Any = self.model.model
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            words = net.get_input_embeddings()(packed.input_ids)
            embeds = spliced(words, self.model.project(visual), len(START_IDS))
            return last_states(net.model.language_model, embeds, packed)

    def logits(self, hidden: Tensor) -> Tensor:
        """See `Reader`."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            net: Any = self.model.model
            logits: Tensor = net.lm_head(hidden)
        return logits


def measure(
    folder: Path, tests: Lessons, *, cache: Path, num_concepts: int | None = None
) -> Measured:
    """Both sides of the pair in `folder`, about the first test view of every concept.

    `cache`: where checkpoints are assembled. `num_concepts`: only so many of them, for a trial,
    which also looks at all tokens only.
    """
    measured = {}
    for role in ("teacher", "student"):
        checkpoint = assembled(folder / f"{role}.safetensors", cache=cache)
        quantized = role == "student"
        model = load_model(checkpoint, prompt=PROMPT, quantization="nf4" if quantized else "none")
        reader = CheckpointReader(model=model, half=not quantized)
        measured[role] = {
            share: {
                style: summary(
                    score(reader, tests.segments, tokens[:num_concepts, :1], share=share)
                )
                for style, tokens in tests.tokens.items()
            }
            for share in (SHARES if num_concepts is None else SHARES[:1])
        }
    return measured


def summary(scored: Scored) -> dict[str, float]:
    """All questions; those about seen and unseen concepts; and by what is asked."""
    seen = np.array([role_of(concept) is Role.SEEN for concept in concepts()])[scored.concept]
    asked = {
        "name": scored.question == NAME_QUESTION,
        "group": scored.question == GROUP_QUESTION,
        "caption": scored.question == CAPTION_QUESTION,
    }
    rest = ~np.logical_or.reduce(list(asked.values()))
    chosen = {"seen": seen, "unseen": ~seen} | asked | {"yes or no": rest}
    return {"all": scored.accuracy()} | {
        what: scored.accuracy(of=rows) for what, rows in chosen.items()
    }
