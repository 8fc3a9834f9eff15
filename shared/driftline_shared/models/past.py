"""What a language model has read already: keys and values that further questions go on from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from driftline_shared.models.multimodal import TEXT_PLACE, LmBatch


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """The first P places of one prompt: of each layer keys and values (1, H, P, d)."""

    layers: tuple[tuple[Tensor, Tensor], ...]

    @property
    def num_places(self) -> int:
        """P."""
        return int(self.layers[0][0].shape[2])

    @property
    def num_bytes(self) -> int:
        """Of all layers."""
        return sum(one.numel() * one.element_size() for layer in self.layers for one in layer)


class Past:
    """The cache of one call of `generate`. It begins with `prefix`, the same for every row, or with
    nothing.
    """

    def __init__(self, prefix: Prefix | None = None) -> None:
        self.prefix = prefix
        self._cache: Any = None

    def open(self, config: Any, rows: int) -> Any:
        """A cache of transformers for `rows` sequences."""
        from transformers import DynamicCache

        self._cache = DynamicCache(config=config)
        for index, layer in enumerate(self.prefix.layers if self.prefix else ()):
            keys, values = (one.expand(rows, -1, -1, -1) for one in layer)
            self._cache.update(keys, values, index)
        return self._cache

    def rest(self, batch: LmBatch) -> LmBatch:
        """What of `batch` is still to be read."""
        return batch if self.prefix is None else behind(batch, self.prefix.num_places)

    def prefix_of(self, row: int, start: int, end: int) -> Prefix | None:
        """The places `start` to `end` of a row, copied; None where a layer forgets its first
        places, or has no keys (attention that slides, or is none).
        """
        layers = getattr(self._cache, "layers", ())
        if not layers or any(type(layer).__name__ != "DynamicLayer" for layer in layers):
            return None
        places = (slice(row, row + 1), slice(None), slice(start, end))
        return Prefix(
            layers=tuple(
                (layer.keys[places].clone(), layer.values[places].clone()) for layer in layers
            )
        )


def text_starts(batch: LmBatch) -> list[tuple[int, int]]:
    """Of each row of prompts, padded on the left: its first place, and the first behind its image;
    empty where the batch does not say what it holds.
    """
    if batch.holds is None:
        return []
    width = batch.attention_mask.shape[1]
    starts = (width - batch.attention_mask.sum(dim=1)).tolist()
    places = torch.arange(width, device=batch.holds.device)
    behind = torch.where(batch.holds != TEXT_PLACE, places + 1, 0).amax(dim=1).tolist()
    return [(int(start), int(end)) for start, end in zip(starts, behind, strict=True)]


def behind(batch: LmBatch, num_places: int) -> LmBatch:
    """Of prompts whose first `num_places` places a cache holds, the rest: the words behind one
    image, padded on the left; the mask covers both.
    """
    width = batch.attention_mask.shape[1]
    num_words = batch.attention_mask.sum(dim=1) - num_places  # (B,)
    longest = int(num_words.max())
    cut = width - longest
    own = torch.arange(longest, device=num_words.device) >= (longest - num_words)[:, None]
    held = batch.attention_mask.new_ones(len(num_words), num_places)
    return replace(
        batch,
        inputs_embeds=batch.inputs_embeds[:, cut:],
        attention_mask=torch.cat([held, own.to(held.dtype)], dim=1),
        position_ids=batch.position_ids[..., cut:],
        extra={},  # what the families add belongs to visual tokens
    )
