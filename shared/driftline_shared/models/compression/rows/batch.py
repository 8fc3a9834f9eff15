"""One row out of a padded batch, as compressors read it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from driftline_shared.errors import PairError
from driftline_shared.models.compression.rows.deep import deep_of
from driftline_shared.models.compression.rows.rows import NONE, Kind, TokenRow
from driftline_shared.models.multimodal import (
    EXTRA_PLACE,
    IGNORED,
    SEPARATOR_PLACE,
    TEXT_PLACE,
    LmBatch,
)
from driftline_shared.tokens import Grid

_KINDS = ((TEXT_PLACE, Kind.TEXT), (SEPARATOR_PLACE, Kind.SEPARATOR), (EXTRA_PLACE, Kind.EXTRA))


@dataclass(frozen=True, kw_only=True)
class Taught:
    """One row of a batch: its prompt, embeddings (q, D) of its answer, q = 0 where it has none, and
    `places` (t,) int64 of both in the batch, which leave out the padding.
    """

    prompt: TokenRow
    answer: Tensor
    places: Tensor


def row_of(batch: LmBatch, number: int, grid: Grid) -> Taught:
    """Row `number` of a batch. Raises PairError for batches that no compressor can read."""
    if batch.holds is None:
        raise PairError("the batch does not say what its places hold: make it with `batch`")
    places = batch.attention_mask[number].nonzero()[:, 0]
    taught = (batch.labels[number, places] != IGNORED).nonzero()[:, 0]
    end = int(taught[0]) if len(taught) else len(places)
    prompt = places[:end]
    holds = batch.holds[number, prompt]
    kind = torch.full_like(holds, int(Kind.VISUAL))
    for place, what in _KINDS:
        kind = kind.masked_fill(holds == place, int(what))
    positions = batch.position_ids[..., number, prompt]
    row = TokenRow(
        states=batch.inputs_embeds[number, prompt],
        kind=kind,
        token=holds.clamp(min=NONE),
        positions=positions if positions.dim() == 2 else positions[None],
        grid=grid,
        deep=deep_of(batch, number, prompt),
    )
    return Taught(prompt=row, answer=batch.inputs_embeds[number, places[end:]], places=places)
