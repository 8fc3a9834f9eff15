"""What a compressor left of an image, as torch says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from driftline_shared.tokens import VisualTokens

if TYPE_CHECKING:
    from driftline_shared.models.compression.compressed_model import RowReport
    from driftline_shared.models.compression.rows.rows import TowerTokens


def given(tokens: TowerTokens) -> VisualTokens:
    """Tokens that a method left of a picture, as they go to the projector."""
    return VisualTokens(
        values=tokens.values.float().cpu().numpy(),
        positions=tokens.token.cpu().numpy().astype(np.int32),
        grid=tokens.grid,
    )


def counted(row: RowReport) -> int:
    """Places that the language model read of a prompt, in its first layer."""
    return row.layers[0].queries + (row.prefix[0].queries if row.prefix else 0)
