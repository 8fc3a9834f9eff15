"""The library's own decoder layers, run one by one over the places of one row.

Masks stay away wherever they can: without one transformers' SDPA path is causal in a prefill and
sees all keys for a single query, and takes the fused kernel for both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from driftline_shared.errors import PairError
from driftline_shared.models.compression.rows.attention import Rotary
from driftline_shared.models.compression.rows.key_values import RowCache

SUPPORTED = ("llama", "qwen2", "qwen2_5_vl_text", "qwen3_vl_text")
"""Language models whose layers we know how to call, by `model_type`."""


class Decoder:
    """A language model without its head. Raises PairError for one whose layers read more than we
    can give: another architecture, or sliding windows.
    """

    def __init__(self, language: Any) -> None:
        config = language.config
        kind = config.model_type
        if kind not in SUPPORTED:
            raise PairError(
                f"visual-token compression runs the layers of {', '.join(SUPPORTED)} language "
                f"models, this pair's is {kind!r}: remove `compressor` from the configuration"
            )
        windows = {
            each for each in getattr(config, "layer_types", None) or () if "full" not in each
        }
        if windows:
            raise PairError(
                f"visual-token compression reads layers of full attention, {kind} has "
                f"{', '.join(sorted(windows))}: remove `compressor` from the configuration"
            )
        if config._attn_implementation not in ("sdpa", "eager"):
            raise PairError(
                "visual-token compression runs with SDPA attention, the model was loaded with "
                f"{config._attn_implementation!r}"
            )
        self._language = language
        self.config: Any = config
        self.layers: Any = language.layers[: config.num_hidden_layers]

    @property
    def num_layers(self) -> int:
        """L, the number of layers."""
        return len(self.layers)

    @property
    def axes(self) -> int:
        """A, of positions: time, height and width (M-RoPE), or one."""
        return 3 if hasattr(self._language.rotary_emb, "mrope_section") else 1

    def rotary(self, states: Tensor, positions: Tensor) -> Rotary:
        """Cosines and sines (n, head width) of `positions` (A, n), in the type of `states`."""
        by_axis = positions[:, None] if len(positions) > 1 else positions
        cos, sin = self._language.rotary_emb(states[None], position_ids=by_axis)
        return cos[0], sin[0]

    def run(
        self,
        layer: int,
        states: Tensor,
        rotary: Rotary,
        cache: RowCache,
        held: int = 0,
    ) -> Tensor:
        """One layer over n places: (n, D) -> (n, D); its keys and values go into `cache`.

        `held`: places that the cache returns before the n new ones; every new place sees those.
        """
        result = self.layers[layer](
            states[None],
            attention_mask=self._mask(states, held),
            past_key_values=cache,
            use_cache=True,
            position_embeddings=(rotary[0][None], rotary[1][None]),
        )
        return result[0]

    def norm(self, states: Tensor) -> Tensor:
        """(n, D) states behind the last layer -> hidden states as the head reads them."""
        return self._language.norm(states)

    def _mask(self, states: Tensor, held: int) -> Tensor | None:
        """(1, 1, n, held + n) what each place sees, where the kernel does not know by itself."""
        num, fused = len(states), self._language.config._attn_implementation == "sdpa"
        if num == 1 or (fused and not held):
            return None
        seen = torch.ones(num, held + num, dtype=torch.bool, device=states.device).tril(held)
        if fused:
            return seen[None, None]
        lowest = torch.finfo(states.dtype).min
        return torch.zeros_like(seen, dtype=states.dtype).masked_fill(~seen, lowest)[None, None]
