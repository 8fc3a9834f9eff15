"""What a row costs the language model, counted from tokens a layer: FLOPs and bytes of its cache.

The convention: true FLOPs (a multiply-accumulate is two), grouped key heads, a gated feed-forward
layer of three matrices, dense attention (a kernel that skips the causal half does about half of
that term), norms, rotary turns, softmax and activations left out. Papers count otherwise, often
half of this: compare shares, not totals.

Letters: q queries and c keys of a layer, d width, a width of all heads, k width of all key heads,
m inner width. With heads as wide as the model, a = d:

    layer   F = 2 q (2 d a + 2 d k + 3 d m) + 4 q c a
    head    2 d vocabulary, for the one position whose logits are read
    token t of the answer: F at q = 1, c = read + t
    cache   2 k values a place and layer

Source: true-FLOPs forms of the counts in FastV (arXiv 2403.06764, section 3) and SparseVLM
(arXiv 2410.04417, appendix), with the third matrix of the feed-forward layer, which the former
leaves out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from driftline_shared.models.compression.compressor import LayerCount, Layers, ModelFacts


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one row costs. FLOPs by the convention of this file; bytes at the width asked for.

    `prefill`: all layers and the head for one position, without what precedes the language model.
    `prefix`: a first pass of which only a part is remembered, apart, because it can be kept for
    further questions about a picture. `decode`: the first token after the prompt. `stored` and
    `read`: bytes of the cache held, and read at a decoding step.
    """

    prefill: int
    prefix: int
    decode: int
    stored: int
    read: int


def cost(facts: ModelFacts, layers: Layers, *, prefix: int = 0, value_bytes: int = 4) -> Cost:
    """The cost of a row whose layers compute `layers`, after a first pass over `prefix` places.

    `value_bytes`: bytes of one number in the cache, 4 for float32.
    """
    return Cost(
        prefill=prefill_flops(facts, layers),
        prefix=facts.num_layers * layer_flops(facts, prefix, prefix),
        decode=decode_flops(facts, layers),
        stored=cache_bytes(facts, [layer.cached for layer in layers], value_bytes),
        read=cache_bytes(facts, [layer.read for layer in layers], value_bytes),
    )


def layer_flops(facts: ModelFacts, queries: int, keys: int) -> int:
    """F = 2 q (2 d a + 2 d k + 3 d m) + 4 q c a: one layer, each query seeing all `keys`."""
    heads = facts.num_heads * facts.head_width
    projections = 2 * facts.width * (heads + _key_width(facts))
    feed_forward = 3 * facts.width * facts.inner
    return 2 * queries * (projections + feed_forward) + 4 * queries * keys * heads


def head_flops(facts: ModelFacts, places: int = 1) -> int:
    """2 d vocabulary for each of `places`."""
    return 2 * facts.width * facts.vocabulary * places


def prefill_flops(facts: ModelFacts, layers: Layers, *, places: int = 1) -> int:
    """Sum of F over the layers, and the head for `places` positions."""
    return sum(layer_flops(facts, each.queries, each.keys) for each in layers) + head_flops(
        facts, places
    )


def decode_flops(facts: ModelFacts, layers: Layers, step: int = 1) -> int:
    """The `step`-th generated token as it is read, its head included; it sees itself, too."""
    return sum(layer_flops(facts, 1, each.read + step) for each in layers) + head_flops(facts)


def cache_bytes(facts: ModelFacts, lengths: list[int], value_bytes: int = 4) -> int:
    """Keys and values of caches of these lengths, one a layer: sum of 2 length k value_bytes."""
    return 2 * sum(lengths) * _key_width(facts) * value_bytes


def whole(facts: ModelFacts, places: int) -> list[LayerCount]:
    """A row of `places` that nothing compresses."""
    return [LayerCount.alike(places)] * facts.num_layers


def _key_width(facts: ModelFacts) -> int:
    return facts.num_key_heads * facts.head_width


# -- parts of what methods add -------------------------------------------------------------------


def row_flops(facts: ModelFacts, rows: int, keys: int) -> int:
    """2 rows n a: attention of a few rows to n keys, beside the fused kernel."""
    return 2 * rows * keys * facts.num_heads * facts.head_width


def cuts(layers: Layers) -> list[tuple[LayerCount, LayerCount]]:
    """Each layer that computes fewer places than the one before it, behind that one."""
    return [(one, two) for one, two in pairwise(layers) if two.queries < one.queries]
