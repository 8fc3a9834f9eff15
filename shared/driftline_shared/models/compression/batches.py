"""Rows of the language model whose pictures have different numbers of tokens, as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from driftline_shared.models.compression.compressor import TokenCompressor
from driftline_shared.models.compression.rows.deep import joined_extra
from driftline_shared.models.multimodal import EXTRA_PLACE, IGNORED, TEXT_PLACE, LmBatch

NO_PLACE = -1
"""What `visual` holds past the last visual token of a row that has fewer than another."""


@dataclass(frozen=True, kw_only=True)
class LookedBatch(LmBatch):
    """A batch whose rows' compressors have seen their pictures, and go on with their rows."""

    compressors: tuple[TokenCompressor, ...] = field(default=())


def with_extra(batch: LmBatch, states: Tensor) -> LmBatch:
    """A batch of one row with `states` (m, D) before its first visual token.

    They take m positions; what stands behind is moved on by m.
    """
    assert batch.holds is not None, "families say what places hold"
    at, num = int(batch.visual.min()), len(states)

    def widened(values: Tensor, fill: int) -> Tensor:
        middle = values.new_full((1, num), fill)
        return torch.cat([values[:, :at], middle, values[:, at:]], dim=1)

    before, behind = batch.position_ids[..., :at], batch.position_ids[..., at:]
    steps = torch.arange(num, device=behind.device)
    embeds = batch.inputs_embeds
    return LmBatch(
        inputs_embeds=torch.cat([embeds[:, :at], states[None].to(embeds), embeds[:, at:]], dim=1),
        attention_mask=widened(batch.attention_mask, 1),
        position_ids=torch.cat([before, behind[..., :1] + steps, behind + num], dim=-1),
        labels=widened(batch.labels, IGNORED),
        visual=batch.visual + num,
        extra=batch.extra,
        holds=widened(batch.holds, EXTRA_PLACE),
    )


def joined(
    rows: Sequence[LmBatch], compressors: Sequence[TokenCompressor], *, left: bool
) -> LookedBatch:
    """Batches of one row as one, padded on the `left` or on the right."""
    width = max(row.inputs_embeds.shape[1] for row in rows)
    num_visual = max(row.visual.shape[1] for row in rows)
    missing = [width - row.inputs_embeds.shape[1] for row in rows]

    def padded(name: str, fill: int, behind: int = 0) -> Tensor:
        """`behind`: axes behind that of places."""
        whole = []
        for row, num in zip(rows, missing, strict=True):
            sides = [0, 0] * behind + ([num, 0] if left else [0, num])
            whole.append(functional.pad(getattr(row, name), sides, value=fill))
        return torch.cat(whole, dim=-2 - behind)

    visual = [
        functional.pad(
            row.visual + (num if left else 0),
            (0, num_visual - row.visual.shape[1]),
            value=NO_PLACE,
        )
        for row, num in zip(rows, missing, strict=True)
    ]
    return LookedBatch(
        inputs_embeds=padded("inputs_embeds", 0, behind=1),
        attention_mask=padded("attention_mask", 0),
        position_ids=padded("position_ids", 0),
        labels=padded("labels", IGNORED),
        visual=torch.cat(visual),
        extra=joined_extra(rows, missing, left=left),
        holds=padded("holds", TEXT_PLACE),
        compressors=tuple(compressors),
    )
