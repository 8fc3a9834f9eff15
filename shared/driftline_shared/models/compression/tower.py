"""The tower's side of the driver: reads a picture for a compressor, up to the projector.

A visual token is what the family calls one, a position of the language model: a patch of the tower,
or, in clips of LLaVA-OneVision, a cell of four patches that the projector pools. A cell reaches a
compressor as its patches side by side; where it lies is put back behind them afterwards, so merging
cells merges their patches one by one and leaves the token at the place of its member.

What a method needs beyond tokens is read with hooks on the tower's own layers, which are removed
again, and a softmax over the few rows that are asked for; the tower stays in its fused kernels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressor import Frames, TokenCompressor
from driftline_shared.models.compression.rows.rows import NONE, READ_OF_TOWER, TowerTokens
from driftline_shared.models.compression.tower_blocks import blocks_of, merged_view, outputs_of
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.families.llava import (
    LlavaModel,
    PatchMap,
    chosen_states,
    tower_states,
)
from driftline_shared.models.families.llava_onevision import LlavaOnevisionModel
from driftline_shared.pair.image_steps import wrong_frames

Patched = LlavaModel | LlavaOnevisionModel
"""Families that say which patches a token is made of."""

LAYER_SHARES = (1 / 2, 2 / 3, 11 / 12, 23 / 24)
"""Depths of the hidden states in `TowerTokens.layers`: 12, 16, 22 and 23 of 24 layers."""

_VIEWS_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a compressor leaves of a picture or clip, as the family's `project` takes it.

    `tokens.values` (k, D_v), or (k, 4 D_v + 2) of clips. `extra` (m, same): tokens of its extra
    pictures in order, each encoded like the picture or like a frame; None without any. `whole`
    (V, same): all tokens as `encode` gives them; None where the tower was not run as it is.
    """

    tokens: TowerTokens
    extra: Tensor | None = None
    whole: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class _Views:
    """What the tower says of v views of P patches: `states` (v, P, D_v), and of `READ_OF_TOWER`
    what was asked for, each (v, P, ...).
    """

    states: Tensor
    read: dict[str, Tensor]


def look(
    model: FamilyModel, compressor: TokenCompressor, image: NDArray[np.uint8], question: str
) -> Look:
    """Encode one picture (H, W, 3) or clip (F, H, W, 3) uint8 as `compressor` wants it.

    Without gradient up to the tower's tokens, as `encode`; what `on_vision` does with them has one.
    Raises ConfigError where the method needs what this tower or family does not have.
    """
    frames = compressor.on_frames(image) if image.ndim == 4 else Frames()
    place = torch.empty(model.num_tokens, 0)
    extra = None
    if isinstance(model, Patched):
        merged = _through_blocks(model, compressor, image)
        tokens = merged if merged is not None else _read(model, compressor, image, frames)
        is_whole = merged is None and frames.kept is None
        place = model.patch_map().place
        if frames.extra is not None:
            extra = _pictures(model, frames.extra, image.ndim == 4)
    else:
        check_tower(model, compressor)
        if frames.kept is not None or frames.extra is not None:
            wanted = ["frames of its own choice"]
            raise _gives_tokens_only(model.net.config.model_type, type(compressor), wanted)
        values = model.encode([image])[0]
        tokens, is_whole = TowerTokens.bare(values, torch.arange(len(values)), model.grid), True
    asked = question_state(model, question) if "question" in compressor.needs else None
    left = compressor.on_vision(tokens, asked)
    placed = _placed(left, place)
    whole = _placed(tokens, place).values if is_whole else None
    return Look(tokens=placed, extra=extra, whole=whole)


def question_state(model: FamilyModel, question: str) -> Tensor:
    """(D,) the language model's last hidden state of the question alone, after the final norm."""
    ids = model.tokenizer(question)["input_ids"] or [model.pad_id()]
    embeds = model.net.get_input_embeddings()(torch.tensor([ids], device=model.device))
    hidden: Tensor = model.language(inputs_embeds=embeds, use_cache=False).last_hidden_state
    return hidden[0, -1]


# -- the tower in one pass -----------------------------------------------------------------------


def _read(
    model: Patched, compressor: TokenCompressor, image: NDArray[np.uint8], frames: Frames
) -> TowerTokens:
    """Tokens of the frames that are kept, with what the method needs of them."""
    num_patches = _num_patches(model)
    every = model.patch_map()
    if frames.kept is None:
        token, pixels = torch.arange(model.num_tokens), model.views([image])
    else:
        if not isinstance(model, LlavaOnevisionModel):
            raise ConfigError(
                f"{_name(type(compressor))} chooses among frames; this model reads one"
            )
        if len(image) != model.grid.frames:
            raise wrong_frames(len(image), model.grid.frames)
        kept = torch.from_numpy(frames.kept)
        cells = model.grid.rows * model.grid.cols
        token = (kept[:, None] * cells + torch.arange(cells)).flatten()
        pixels = model.frame_views(image[frames.kept])
        every = _of_frames(every, token, kept, num_patches)
    with torch.no_grad():
        parts = [
            _views(model, part, compressor, num_patches) for part in pixels.split(_VIEWS_AT_ONCE)
        ]
    bare = replace(every, place=every.place[:, :0])
    states = torch.cat([part.states for part in parts])
    tokens = TowerTokens.bare(bare.values(states), token, model.grid)
    read: dict[str, Any] = {
        name: every.means(torch.cat([part.read[name] for part in parts])) for name in parts[0].read
    }
    if "attention" in read:
        read["attention"] = read["attention"][:, 0]
    return replace(tokens, **read)


def _views(model: Patched, pixels: Tensor, compressor: TokenCompressor, num_patches: int) -> _Views:
    """Run the tower on (v, 3, H, W), queries and keys hooked of the layers that are needed."""
    tower, needs = model.net.model.vision_tower, compressor.needs
    hooked: dict[str, torch.nn.Module] = {}
    heads = 1
    if needs & {"attention", "keys", "head_attention", "head_keys"}:
        blocks = blocks_of(tower)
        if not blocks:
            _lacks(compressor, tower, "attention and keys: it is no transformer")
        own = blocks[max(0, num_blocks(model.net.config) - 1)].self_attn
        last, heads = blocks[-1].self_attn, own.num_heads
        hooked = {"q": last.q_proj, "k": last.k_proj, "own_q": own.q_proj, "own_k": own.k_proj}
    with outputs_of(hooked) as got:
        hidden = tower(
            pixels.to(tower.device, tower.dtype), output_hidden_states=True, return_dict=True
        ).hidden_states
    num_class = hidden[0].shape[1] - num_patches
    read: dict[str, Tensor] = {}
    if "attention" in needs:
        # As LLaVA-PruMerge's public code (arXiv 2403.15388, section 3) reads it: heads not split.
        read["attention"] = _attention(got["q"], got["k"], num_class, heads=1)
    if "head_attention" in needs:
        read["head_attention"] = _attention(got["own_q"], got["own_k"], num_class, heads)
    for name, keys in (("keys", "k"), ("head_keys", "own_k")):
        if name in needs:
            read[name] = got[keys][:, num_class:].float()
    if "layers" in needs:
        if len(hidden) == 1:
            _lacks(compressor, tower, "hidden states of several layers: it gives its last only")
        depths = [round(share * (len(hidden) - 1)) for share in LAYER_SHARES]
        read["layers"] = torch.cat([hidden[depth][:, num_class:] for depth in depths], -1).float()
    return _Views(states=chosen_states(model.net.config, hidden).float(), read=read)


def _attention(queries: Tensor, keys: Tensor, num_class: int, heads: int) -> Tensor:
    """(v, P, H): of each head the class token's row, or the mean of all rows, of
    softmax(q_h K_h^T / sqrt(d_h)).
    """
    asked = queries[:, :num_class] if num_class else queries
    q, k = (part.float().unflatten(-1, (heads, -1)).transpose(1, 2) for part in (asked, keys))
    scores = q @ k.transpose(2, 3) * k.shape[-1] ** -0.5
    return scores.softmax(dim=-1).mean(dim=2)[:, :, num_class:].transpose(1, 2)


# -- the tower block by block --------------------------------------------------------------------


@torch.no_grad()
def _through_blocks(
    model: Patched, compressor: TokenCompressor, image: NDArray[np.uint8]
) -> TowerTokens | None:
    """Tokens that `on_block` left of each view; None where the method leaves the tower alone."""
    if compressor.blocks == "unused":
        return None
    tower, chosen = model.net.model.vision_tower, model.net.config.vision_feature_layer
    blocks, every = blocks_of(tower), model.patch_map()
    reason = ""
    if not blocks:
        reason = "blocks of attention: it is no transformer"
    elif not isinstance(chosen, int):
        reason = "one layer of tokens: it reads several, each of which would merge others"
    elif every.patches.shape[1] != 1:
        reason = "a patch for each token: clips pool four behind the projector"
    if reason and compressor.blocks == "required":
        _lacks(compressor, tower, reason)
    if reason:
        return None
    num_patches = _num_patches(model)
    pixels = model.views([image])
    of_patch = torch.full((len(pixels) * num_patches,), NONE)
    of_patch[every.patches[:, 0]] = torch.arange(len(every.patches))
    used = blocks[: num_blocks(model.net.config)]
    views = [
        merged_view(tower, used, compressor, view[None], of_patch[at : at + num_patches])
        for at, view in zip(range(0, len(of_patch), num_patches), pixels, strict=True)
    ]
    states, token, size = (
        torch.cat([getattr(view, name) for view in views]) for name in ("states", "token", "size")
    )
    return TowerTokens.bare(states, token, model.grid, size)


# -- parts ---------------------------------------------------------------------------------------


def _pictures(model: Patched, pictures: NDArray[np.uint8], clip: bool) -> Tensor:
    """Tokens of extra pictures (m, H, W, 3), laid end to end: each as the picture or as a frame."""
    every = model.patch_map()
    if clip and isinstance(model, LlavaOnevisionModel):
        first = torch.arange(model.grid.rows * model.grid.cols)
        every = _of_frames(every, first, torch.zeros(1, dtype=torch.long), _num_patches(model))
        views = list(model.frame_views(pictures)[:, None])
    else:
        views = [model.views([picture]) for picture in pictures]
    with torch.no_grad():
        return torch.cat([every.values(tower_states(model.net, view).float()) for view in views])


def _of_frames(every: PatchMap, token: Tensor, kept: Tensor, num_patches: int) -> PatchMap:
    """The tokens of the frames `kept`, whose patches are now those of views 0, 1, 2, ..."""
    patches = every.patches[token]
    view = torch.searchsorted(kept, patches // num_patches)
    return PatchMap(
        patches=view * num_patches + patches % num_patches,
        weights=every.weights[token],
        place=every.place[token],
    )


def _placed(tokens: TowerTokens, place: Tensor) -> TowerTokens:
    """With the channels `place` (V, c) of each token behind its patches."""
    behind = place.to(tokens.values)[tokens.token]
    return replace(tokens, values=torch.cat([tokens.values, behind], dim=-1))


def num_blocks(config: Any) -> int:
    """Blocks of the tower that a visual token passes in a checkpoint of this configuration, of
    several layers to the deepest. 0 where the tower has none.
    """
    depth = getattr(config.vision_config, "num_hidden_layers", 0)
    chosen = getattr(config, "vision_feature_layer", -1)
    deepest = max(
        each if each >= 0 else depth + 1 + each
        for each in ([chosen] if isinstance(chosen, int) else chosen)
    )
    return max(0, min(deepest, depth))


def tower_facts(model: FamilyModel) -> dict[str, int]:
    """The fields of `ModelFacts` that say what the tower is."""
    config, vision = model.net.config, model.net.config.vision_config
    layers = getattr(config, "vision_feature_layer", -1)
    num_read = 1 if isinstance(layers, int) else len(layers)
    # Merge groups of patches, of several layers side by side where the family reads those.
    side = int(getattr(vision, "spatial_merge_size", getattr(config, "scale_factor", 1)))
    deep = len(getattr(vision, "deepstack_visual_indexes", ()))
    return {
        "tower_width": int(vision.hidden_size) * num_read * side**2 * (1 + deep),
        "tower_blocks": num_blocks(config) if isinstance(model, Patched) else 0,
        "tower_heads": int(getattr(vision, "num_attention_heads", 1)),
    }


def _num_patches(model: Patched) -> int:
    vision = model.net.config.vision_config
    return int((vision.image_size // vision.patch_size) ** 2)


def check_reads(model_type: str, family: type[FamilyModel], method: type[TokenCompressor]) -> None:
    """Raises ConfigError for a method that needs more of the tower than this family gives."""
    wanted: list[str] = sorted(method.needs & set(READ_OF_TOWER))
    if wanted and not issubclass(family, Patched):
        raise _gives_tokens_only(model_type, method, wanted)


def check_tower(model: FamilyModel, compressor: TokenCompressor) -> None:
    """As `check_reads`, of a row's own compressor, which may need the tower's blocks, too."""
    model_type = model.net.config.model_type
    check_reads(model_type, type(model), type(compressor))
    if compressor.blocks == "required" and not isinstance(model, Patched):
        raise _gives_tokens_only(model_type, type(compressor), ["blocks"])


def _gives_tokens_only(
    model_type: str, method: type[TokenCompressor], wanted: list[str]
) -> ConfigError:
    return ConfigError(
        f"compressor {_name(method)} reads {', '.join(wanted)} of the tower, and models of "
        f"family {model_type} give their tokens only; take another method, or "
        "a LLaVA or LLaVA-OneVision model"
    )


def _lacks(compressor: TokenCompressor, tower: Any, what: str) -> NoReturn:
    raise ConfigError(
        f"compressor {_name(type(compressor))} cannot read the tower {tower.config.model_type}, "
        f"which lacks {what}; take a method that needs none, or another model"
    )


def _name(method: type[TokenCompressor]) -> str:
    return method.__name__.removesuffix("Compressor")
