"""A transformer tower taken apart: its blocks one by one, and what single layers compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from driftline_shared.models.compression.compressor import TokenCompressor
from driftline_shared.models.compression.rows.rows import NONE, BlockTokens


@contextmanager
def outputs_of(modules: dict[str, torch.nn.Module]) -> Iterator[dict[str, Tensor]]:
    """A dictionary that holds each module's last output by its name; listens while it is open."""
    got: dict[str, Tensor] = {}

    def listen(name: str, module: torch.nn.Module) -> Any:
        return module.register_forward_hook(lambda _m, _i, output: got.update({name: output}))

    handles = [listen(name, module) for name, module in modules.items()]
    try:
        yield got
    finally:
        for handle in handles:
            handle.remove()


def blocks_of(tower: Any) -> list[Any]:
    """The tower's transformer blocks in order; [] where it has none that can be driven."""
    blocks = list(getattr(getattr(tower, "encoder", None), "layers", []))
    parts = ("layer_norm1", "self_attn", "layer_norm2", "mlp")
    return blocks if all(hasattr(block, part) for block in blocks for part in parts) else []


def merged_view(
    tower: Any, blocks: list[Any], compressor: TokenCompressor, pixels: Tensor, of_patch: Tensor
) -> BlockTokens:
    """What is left of one view (1, 3, H, W); `of_patch` (P,): the token of each patch."""
    states = tower.embeddings(pixels.to(tower.device, tower.dtype))
    if hasattr(tower, "pre_layrnorm"):
        states = tower.pre_layrnorm(states)
    # The class token, where there is one, stands first.
    num_class = states.shape[1] - len(of_patch)
    token = torch.cat([of_patch.new_full((num_class,), NONE), of_patch]).to(states.device)
    tokens = BlockTokens(
        states=states[0],
        keys=states[0, :, :0],
        size=torch.ones(len(token), device=states.device),
        token=token,
    )
    for number, block in enumerate(blocks):
        bias = compressor.block_bias(tokens)
        mask = None if bias is None else bias.to(tokens.states)[None, None, None]
        with outputs_of({"k": block.self_attn.k_proj}) as got:
            normed = block.layer_norm1(tokens.states[None])
            attended, _ = block.self_attn(hidden_states=normed, attention_mask=mask)
        keys = got["k"][0].unflatten(-1, (block.self_attn.num_heads, -1)).mean(dim=1)
        states = tokens.states + attended[0]
        tokens = compressor.on_block(number, len(blocks), replace(tokens, states=states, keys=keys))
        states = tokens.states + block.mlp(block.layer_norm2(tokens.states))
        tokens = replace(tokens, states=states)
    seen = tokens.token != NONE
    return replace(
        tokens,
        states=tokens.states[seen].float(),
        keys=tokens.keys[seen],
        size=tokens.size[seen],
        token=tokens.token[seen],
    )
