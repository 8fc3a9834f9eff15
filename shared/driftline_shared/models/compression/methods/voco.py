"""VoCo-LLaMA: a few learned tokens read the image, and the text reads only those.

C learned embeddings stand behind the image. A first pass reads [text before, image, VoCo]; of its
keys and values only those of the VoCo places, and of the text before the image, are held. A second
pass reads those and the text behind:

    visible(i, j) = j <= i  and not (i > e and j in image),   e the last VoCo place

Each pass is plainly causal. `attention_rule` is the same as one mask over one pass, in which
gradients flow; it keeps the image's cache and saves nothing, so it is for training only.

Source: VoCo-LLaMA (arXiv 2406.12275), sections 3.1 to 3.3; places and positions as in the public
code (model_vqa_loader.py). The paper forbids only text to see the image, and that is this form. The
public code hides what stands *before* the image from the text as well, its first token included,
and puts the system prompt behind the image; here text is never dropped, wherever it stands. The
loss is next-token cross-entropy under the mask: there is no distillation term in the code, as its
author confirms.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressor import (
    LayerCount,
    ModelFacts,
    Need,
    Options,
    Prefix,
    TokenCompressor,
    kept_count,
)
from driftline_shared.models.compression.rows.rows import Kind, TokenRow

EMBEDDINGS = "tokens"
"""Name of the learned embeddings (C, D) among the method's weights."""


class VocoOptions(Options):
    """`tokens`: C, how many learned tokens stand for an image. Where it is not given, `keep` says
    it: C = max(1, round(keep V)); the default is the paper's, 576 tokens to one. With `keep` = 1
    the image is read as it is.
    """

    keep: float = Field(default=1 / 576, gt=0.0, le=1.0)
    tokens: int | None = Field(default=None, ge=1)

    def num_tokens(self, num_visual: int) -> int:
        """C for an image of `num_visual` tokens; 0: it is read as it is."""
        if self.keep >= 1.0 or not num_visual:
            return 0
        return self.tokens or kept_count(self.keep, num_visual)


class VocoCompressor(TokenCompressor):
    """Learned tokens behind the image; the image itself is forgotten after the first pass.

    `weights`: `tokens` (C', D), of which a row takes the first C <= C'. Raises ConfigError where
    there are none, or too few.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"weights"})

    @classmethod
    def fresh_weights(cls, options: VocoOptions, facts: ModelFacts, seed: int) -> dict[str, Tensor]:
        """(C, D) float32 of a normal distribution, as wide as language models begin: 0.02."""
        random = torch.Generator().manual_seed(seed)
        number = max(1, options.num_tokens(facts.grid.num_tokens))
        return {EMBEDDINGS: 0.02 * torch.randn(number, facts.width, generator=random)}

    def on_embeds(self, row: TokenRow) -> TokenRow:
        """The row with C tokens behind the last place of its image."""
        number = self.options.num_tokens(len(row.visual))
        if not number:
            return row
        image = (row.kind != Kind.TEXT).nonzero()[:, 0]
        return row.inserted(int(image[-1]) + 1, self._embeddings(number))

    def prefix(self, row: TokenRow) -> Prefix | None:
        """A pass up to the last VoCo place; VoCo places and the text before them are held."""
        learned = (row.kind == Kind.EXTRA).nonzero()[:, 0]
        if not self.options.num_tokens(len(row.visual)) or not len(learned):
            return None
        end = int(learned[-1])
        held = row.kind[: end + 1]
        kept = (held == Kind.TEXT) | (held == Kind.EXTRA)
        return Prefix(end=end, kept=kept.nonzero()[:, 0])

    def schedule(self, num_text: int, num_visual: int, num_other: int = 0) -> list[LayerCount]:
        """The second pass: q = x, c = x + C. The first one, over text before the image, image and
        C places, is counted apart (`flops.cost`, `prefix`), for it is made once an image.
        """
        number = self.options.num_tokens(num_visual)
        if not number:
            return super().schedule(num_text, num_visual, num_other)
        held = num_text + number
        one = LayerCount(queries=num_text, keys=held, cached=held, read=held)
        return [one] * self.facts.num_layers

    def _embeddings(self, number: int) -> Tensor:
        learned = self.weights.get(EMBEDDINGS)
        if learned is None:
            raise ConfigError(
                "compressor voco has no trained weights: compressor.voco.safetensors is missing "
                "beside the student's checkpoint; `driftline lab train-compressor voco --out DIR` "
                "makes a pair that has it"
            )
        if number > len(learned):
            raise ConfigError(
                f"compressor voco: {number} tokens are asked for, it was trained with "
                f"{len(learned)}; set tokens = {len(learned)}, or train it with "
                f"`driftline lab train-compressor voco --option tokens={number} --out DIR`"
            )
        return learned[:number]


def attention_rule(kind: Tensor) -> Tensor:
    """(B, n) kinds of places -> (B, n, n) bool: whether place i (rows) sees place j.

    For batches in training, to be joined with a mask of padding. A row without learned tokens is
    plainly causal.
    """
    num = kind.shape[-1]
    order = torch.arange(num, device=kind.device)
    # (B, 1): the last learned place, and one past the row where there is none.
    end = torch.where(kind == Kind.EXTRA, order, -1).amax(dim=-1, keepdim=True)
    behind = order > torch.where(end < 0, num, end)
    image = ((kind == Kind.VISUAL) | (kind == Kind.SEPARATOR)) & (order <= end)
    causal = order[:, None] >= order[None, :]
    return causal & ~(behind[:, :, None] & image[:, None, :])
