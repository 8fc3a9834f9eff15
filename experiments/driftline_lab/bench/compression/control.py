"""What methods are held against beside the whole: doing nothing, and dropping tokens at random."""

from __future__ import annotations

from typing import ClassVar

import torch

from driftline_shared.models.compression.compressed_model import CompressedModel, facts_of
from driftline_shared.models.compression.compressor import (
    Compression,
    Options,
    TokenCompressor,
)
from driftline_shared.models.compression.rows.rows import TokenRow
from driftline_shared.models.families.base import FamilyModel

DRIVER = "driver alone"
"""A compressor that does nothing: what running layers one by one costs by itself."""

RANDOM = "random"
"""Tokens dropped at random before the layers: what a budget costs without any method."""


class RandomCompressor(TokenCompressor):
    """Keeps `keep` of the visual tokens, drawn evenly without replacement for each row."""

    generator: ClassVar[torch.Generator]

    def on_embeds(self, row: TokenRow) -> TokenRow:
        """The row without the tokens that were not drawn."""
        num = len(row.visual)
        order = torch.randperm(num, generator=self.generator)
        return row.keep_visual(order[: self.num_kept(num)].to(row.kind.device))


def do_nothing(model: FamilyModel) -> CompressedModel:
    """`model` through the driver, with no method."""
    return _behind(model, DRIVER, TokenCompressor, 1.0)


def drop_at_random(model: FamilyModel, keep: float, seed: int) -> CompressedModel:
    """`model` with random tokens; every row draws anew, the same again for the same seed."""
    drawn = {"generator": torch.Generator().manual_seed(seed)}
    return _behind(model, RANDOM, type("RandomCompressor", (RandomCompressor,), drawn), keep)


def _behind(
    model: FamilyModel, name: str, kind: type[TokenCompressor], keep: float
) -> CompressedModel:
    facts = facts_of(model)
    return CompressedModel(
        model, Compression(name=name, kind=kind, options=Options(keep=keep), facts=facts)
    )
