"""Features that are added behind the first layers of a language model (DeepStack), in a batch.

transformers reads them beside the embeddings: which places of a batch are visual tokens, and for
each such layer the features of those, row by row and from left to right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from driftline_shared.errors import PairError
from driftline_shared.models.multimodal import LmBatch

_MARKS, _FEATURES = "visual_pos_masks", "deepstack_visual_embeds"


def deep_of(batch: LmBatch, number: int, places: Tensor) -> Tensor | None:
    """(m, n, D) what is added at `places` (n,) of row `number` behind the first m layers; None
    where nothing is. Raises PairError for other things that a language model may read.
    """
    if not batch.extra:
        return None
    _check(batch.extra)
    marks: Tensor = batch.extra[_MARKS]
    start = int(marks[:number].sum())
    at = marks[number].nonzero()[:, 0]
    width = batch.inputs_embeds.shape[1:]
    layers = [
        each.new_zeros(width).index_copy(0, at, each[start : start + len(at)])[places]
        for each in batch.extra[_FEATURES]
    ]
    return torch.stack(layers).to(batch.inputs_embeds.dtype) if layers else None


def joined_extra(rows: Sequence[LmBatch], missing: Sequence[int], *, left: bool) -> dict[str, Any]:
    """`extra` of batches of one row as that of one batch; `missing`: padding of each row, on the
    `left` or on the right.
    """
    if not rows[0].extra:
        return {}
    for row in rows:
        _check(row.extra)
    marks = [
        functional.pad(row.extra[_MARKS], [num, 0] if left else [0, num], value=False)
        for row, num in zip(rows, missing, strict=True)
    ]
    layers = zip(*(row.extra[_FEATURES] for row in rows), strict=True)
    return {_MARKS: torch.cat(marks), _FEATURES: [torch.cat(list(layer)) for layer in layers]}


def _check(extra: Mapping[str, Any]) -> None:
    if set(extra) != {_MARKS, _FEATURES}:
        raise PairError(
            f"visual-token compression does not know {', '.join(sorted(extra))}, which this "
            "model's language model reads: remove `compressor` from the configuration"
        )
