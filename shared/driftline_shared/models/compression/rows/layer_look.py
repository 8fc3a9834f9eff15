"""What a method may have computed of a layer's input, beside the fused kernel that runs the layer.

Nothing here is computed unless it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from driftline_shared.models.compression.rows.attention import (
    Rotary,
    attention_rows,
    keys_of,
)


@dataclass(frozen=True, kw_only=True)
class LayerLook:
    """A row of n places as it enters a layer.

    `keys_before` (key heads, n, head width): keys of the layer before, with rotary, as cached.
    """

    layer: Any
    norm: Any
    states: Tensor
    rotary: Rotary
    keys_before: Tensor

    def normed(self) -> Tensor:
        """(n, D) the row's states behind the model's final norm."""
        result: Tensor = self.norm(self.states)
        return result

    def attention(self, places: Tensor) -> Tensor:
        """(R, n) float32 attention of `places` (R,) to all places, mean over heads, that the layer
        to come would pay: its projections of its own input.
        """
        keys = keys_of(self.layer, self.states, self.rotary)
        return attention_rows(self.layer, self.states, self.rotary, keys, places)
