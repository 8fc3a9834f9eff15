"""What compressors read of a tower beside its tokens, as a graph of its own: attention and keys.

The tower's graph gives the hidden states `hidden.{n}` that enter its block n, which it has anyway.
This graph makes the rest of them: queries and keys of the layer that made the tokens and of the
last one, and rows of attention, as `compression/tower.py` reads them. It is loaded where a method
asks, so without one an export runs as fast as it would without the graph.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from driftline_shared.models.compression.tower import Patched, num_blocks, tower_facts
from driftline_shared.models.compression.tower_blocks import blocks_of
from driftline_shared.models.export.decoder import as_array, linear_of
from driftline_shared.models.export.graph import Graph
from driftline_shared.models.export.linear import add_linear
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.families.llava import has_class_token
from driftline_shared.pair.tower_table import TowerTable

FILE = "tower.reads.onnx"


def tower_table(model: FamilyModel) -> TowerTable:
    """What export.json says of the tower; `reads` where there is something to read."""
    facts = tower_facts(model)
    return TowerTable(
        kind=str(model.net.config.vision_config.model_type),
        place=int(model.patch_map().place.shape[1]) if isinstance(model, Patched) else 0,
        width=facts["tower_width"],
        blocks=facts["tower_blocks"],
        heads=facts["tower_heads"],
        reads=FILE if hidden_depths(model) else None,
    )


def hidden_depths(model: FamilyModel) -> tuple[int, ...]:
    """The n of `hidden.{n}`: the block that made the tokens, and the last one where it is another;
    () where the tower is no transformer whose blocks are known, or the family does not say which
    patches a token is.

    The last block but one or two is as deep as checkpoints read; of one that reads less deep, the
    tower's graph computes the blocks up to the last for this alone.
    """
    blocks = blocks_of(model.net.model.vision_tower) if isinstance(model, Patched) else []
    if not blocks:
        return ()
    own = max(0, num_blocks(model.net.config) - 1)
    return tuple(dict.fromkeys((own, len(blocks) - 1)))


def write_reads(model: FamilyModel, file: Path) -> None:
    """Write the graph `reads` in float32; the model has `hidden_depths`."""
    assert isinstance(model, Patched), "others have no hidden depths"
    _Reads(model).graph.save(file)


class _Reads:
    """The graph while it is built: states (B, F, P, D) at each depth -> (B, V, ...) of `READS`."""

    def __init__(self, model: Patched) -> None:
        tower = model.net.model.vision_tower
        blocks = blocks_of(tower)
        self.graph = Graph("reads")
        self.every = model.patch_map()
        self.width = int(model.net.config.vision_config.hidden_size)
        self.num_class = int(has_class_token(tower))
        heads = int(blocks[-1].self_attn.num_heads)
        read = []
        for depth in hidden_depths(model):
            entering = self.graph.input(f"hidden.{depth}", ["B", "F", "P", self.width])
            read.append(self._queries_and_keys(f"blocks.{depth}", blocks[depth], entering))
        own, last = read[0], read[-1]
        attention = self.graph.node(
            "Squeeze", [self._attention(*last, heads=1), self.graph.ints(-1)], name="attention"
        )
        self.graph.output(attention, ["B", len(self.every.patches)])
        self._give("keys", self._of_patches(last[1], self.width), self.width)
        self._give("head_attention", self._attention(*own, heads=heads), heads)
        self._give("head_keys", self._of_patches(own[1], self.width), self.width)

    def _give(self, name: str, value: str, width: int) -> None:
        self.graph.node("Identity", [value], name=name)
        self.graph.output(name, ["B", len(self.every.patches), width])

    def _queries_and_keys(self, name: str, block: Any, entering: str) -> tuple[str, str]:
        """(B, F, P, D) each."""
        graph, norm, attention = self.graph, block.layer_norm1, block.self_attn
        weights = [
            graph.weight(f"{name}.norm.{part}", [self.width], np.float32, partial(as_array, tensor))
            for part, tensor in (("weight", norm.weight), ("bias", norm.bias))
        ]
        normed = graph.node("LayerNormalization", [entering, *weights], epsilon=float(norm.eps))
        queries, keys = (
            add_linear(graph, normed, linear_of(f"{name}.{part}", layer), "fp32")
            for part, layer in (("queries", attention.q_proj), ("keys", attention.k_proj))
        )
        return queries, keys

    def _attention(self, queries: str, keys: str, *, heads: int) -> str:
        """(B, V, H): of each head the class token's row, or the mean of all rows, of
        softmax(q_h K_h^T / sqrt(d_h)).
        """
        graph, width = self.graph, self.width // heads
        if self.num_class:
            first, end, axis = (graph.ints(value) for value in (0, self.num_class, 2))
            queries = graph.node("Slice", [queries, first, end, axis])
        by_head = []
        for states, order in ((queries, (0, 1, 3, 2, 4)), (keys, (0, 1, 3, 4, 2))):
            split = graph.node("Reshape", [states, graph.ints(0, 0, -1, heads, width)])
            by_head.append(graph.node("Transpose", [split], perm=order))
        scale = graph.constant(np.asarray(width**-0.5, dtype=np.float32))
        scores = graph.node("Mul", [graph.node("MatMul", by_head), scale])
        rows = graph.node("Softmax", [scores], axis=-1)
        mean = graph.node("ReduceMean", [rows, graph.ints(3)], keepdims=0)
        return self._of_patches(graph.node("Transpose", [mean], perm=(0, 1, 3, 2)), heads)

    def _of_patches(self, states: str, width: int) -> str:
        """(B, F, P, width) -> (B, V, width), as `PatchMap.means` makes tokens of patches."""
        graph, patches = self.graph, self.every.patches.numpy()
        if self.num_class:
            first, end, axis = (graph.ints(value) for value in (self.num_class, 1 << 31, 2))
            states = graph.node("Slice", [states, first, end, axis])
        flat = graph.node("Reshape", [states, graph.ints(0, -1, width)])
        index = graph.shared_constant(
            "patches", patches.squeeze(1) if patches.shape[1] == 1 else patches
        )
        taken = graph.node("Gather", [flat, index], axis=1)
        if patches.shape[1] == 1:
            return taken
        weights = graph.shared_constant("weights", self.every.weights.numpy()[:, :, None])
        return graph.node(
            "ReduceSum", [graph.node("Mul", [taken, weights]), graph.ints(2)], keepdims=0
        )
