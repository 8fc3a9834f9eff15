"""`LayerLook` under torch: computed beside the fused kernel that runs the layer, where asked."""

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
class TorchLook:
    """See `LayerLook`: a row of n places as it enters `layer`."""

    layer: Any
    norm: Any
    states: Tensor
    rotary: Rotary
    keys_before: Tensor

    def normed(self) -> Tensor:
        """See `LayerLook`."""
        result: Tensor = self.norm(self.states)
        return result

    def attention(self, places: Tensor) -> Tensor:
        """See `LayerLook`."""
        keys = keys_of(self.layer, self.states, self.rotary)
        return attention_rows(self.layer, self.states, self.rotary, keys, places)
