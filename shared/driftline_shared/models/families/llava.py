"""LLaVA: vision tower -> two-layer projector -> LLaMA-style language model.

Serves `LlavaForConditionalGeneration` of transformers with any tower and language model it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline_shared.errors import PairError
from driftline_shared.models.families.base import FamilyModel, ImageLayout
from driftline_shared.models.families.pictures import image_processor, on_canvas
from driftline_shared.pair.pair import Canvas
from driftline_shared.tokens import Grid


@dataclass(frozen=True, kw_only=True)
class PatchMap:
    """Which patches of the tower's views each visual token is made of; t patches a token.

    `patches` (V, t) int64: view * P + patch, for P patches a view. `weights` (V, t) float32: their
    shares in the token. `place` (V, c) float32: channels that a token holds behind its patches.
    """

    patches: Tensor
    weights: Tensor
    place: Tensor

    def values(self, views: Tensor) -> Tensor:
        """(views, P, D) -> (V, t D + c): the patches of each token side by side, and its place."""
        taken = views.flatten(0, 1)[self.patches.to(views.device)].flatten(1)
        return torch.cat([taken, self.place.to(taken)], dim=-1)

    def means(self, views: Tensor) -> Tensor:
        """(views, P, D) -> (V, D): the weighted mean of each token's patches."""
        taken = views.flatten(0, 1)[self.patches.to(views.device)]  # (V, t, D)
        return (taken * self.weights.to(taken)[:, :, None]).sum(dim=1)


class LlavaModel(FamilyModel):
    """LLaVA 1.5 and its kin: one square view, one position a patch."""

    def _prepare(self, model_dir: Path, canvas: Canvas | None) -> None:
        self.processor = image_processor(model_dir)
        vision = self.net.config.vision_config
        side = vision.image_size // vision.patch_size
        check_strategy(self.net, model_dir)
        if canvas is not None and canvas.frames != 1:
            raise PairError(
                f"{model_dir}: this family reads single images, not clips of {canvas.frames} "
                "frames; write frames = 1 in the pair's [token_space] image"
            )
        self.grid = Grid(rows=side, cols=side)
        self.canvas = canvas

    def layout(self) -> ImageLayout:
        """Patches row by row."""
        return ImageLayout.plain(self.num_tokens)

    @torch.no_grad()
    def encode(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """(B, V, D_v) float32 tower tokens, as `vision_feature_layer` and strategy choose them."""
        return tower_states(self.net, self.views(images)).float()

    def views(self, images: Sequence[NDArray[np.uint8]]) -> Tensor:
        """(B, 3, H, W): what the tower reads of each picture."""
        one_size = "shortest_edge" not in self.processor.size
        pictures = [
            picture
            for image in images
            for picture in on_canvas(image, self.canvas, any_shape=one_size)
        ]
        pixels: Tensor = self.processor(images=pictures, return_tensors="pt")["pixel_values"]
        return pixels

    def patch_map(self) -> PatchMap:
        """A patch is a token."""
        every = torch.arange(self.num_tokens)[:, None]
        return PatchMap(
            patches=every, weights=torch.ones(every.shape), place=torch.empty(len(every), 0)
        )

    def project(self, tokens: Tensor) -> Tensor:
        """(B, K, D_v) -> (B, K, D), query adapter included."""
        projector = self.net.model.multi_modal_projector
        return projector(tokens.to(self.device, next(projector.parameters()).dtype))


def check_strategy(net: Any, model_dir: Path) -> None:
    """Raise PairError unless the tokens that are chosen are the patches, one each.

    `vision_feature_select_strategy`: "default" leaves the first state out, which is the class token
    where a tower has one (CLIP) and a patch where it has none (SigLIP).
    """
    has_class = has_class_token(net.model.vision_tower)
    strategy = net.config.vision_feature_select_strategy
    wanted = "default" if has_class else "full"
    if strategy == wanted:
        return
    what = "a class token, which is no part of the picture" if has_class else "no class token"
    raise PairError(
        f"{model_dir}: config.json says vision_feature_select_strategy = {strategy!r}, and its "
        f"tower has {what}",
        fix=f"Write {wanted!r} there, if the checkpoint was trained so; else take another.",
    )


def has_class_token(tower: Any) -> bool:
    """Whether a tower's first state is a class token, as CLIP's is, and no patch."""
    return any(name.endswith("class_embedding") for name, _ in tower.named_parameters())


def tower_states(net: Any, pixels: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, V, D_v): hidden states of the layers the config names, side by side."""
    tower = net.model.vision_tower
    states = tower(
        pixels.to(tower.device, tower.dtype), output_hidden_states=True, return_dict=True
    ).hidden_states
    return chosen_states(net.config, states)


def chosen_states(config: Any, states: Sequence[Tensor]) -> Tensor:
    """(B, V, D_v): of all hidden states of the tower those that a LLaVA's `config` chooses."""
    layers = config.vision_feature_layer
    chosen = [states[i] for i in ([layers] if isinstance(layers, int) else layers)]
    if config.vision_feature_select_strategy == "default":
        chosen = [state[:, 1:] for state in chosen]
    return torch.cat(chosen, dim=-1)
