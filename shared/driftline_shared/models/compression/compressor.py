"""The interface of all methods: `TokenCompressor`, eight places to get in, each a no-op by default.

A compressor maps rows to rows. One object serves **one row of one request**: what a method learns
at one hook it may keep for the next. The driver owns everything else: caches of a length per layer,
rotary positions, masks, rows of attention beside the fused kernel.

    on_frames   frames of a clip, before the tower           TS-LLaVA
    on_block    tokens of a view within the tower's blocks   ToMe
    on_vision   tower tokens, before the projector           PruMerge, ToMe, QueCC, VisionZip, ...
    on_embeds   the row of embeddings, before the layers     VidCom2, EVS, DivPrune, DyCoke, ...
    on_layer    the row at the input of a layer (prefill)    FastV, SparseVLM, VTW, HoliTom
    on_input    the same, with more to read of it            DART, PyramidDrop
    route       which places a layer computes (prefill)      VideoLLM-MoD
    on_decode   which cached places a layer reads            DyCoke
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.rows.arrays import Array
from driftline_shared.models.compression.rows.rows import BlockTokens, TokenRow, TowerTokens
from driftline_shared.tokens import Grid

Need = Literal["attention", "keys", "head_attention", "head_keys", "layers", "question", "weights"]
"""What a method reads beyond tokens: fields of `TowerTokens`; `question`: the language model's
last hidden state of the question alone; `weights`: trained ones of its own.
"""


class Options(BaseModel):
    """Options of a method as configuration gives them: unknown keys and wrong types are errors.

    `keep`: share of visual tokens that stays, in the method's own sense (see its file); 1.0 must
    change nothing. Its default is the budget of the method's paper, named in the method's options;
    a half where there is none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: float = Field(default=0.5, gt=0.0, le=1.0)


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a method may know about the model it serves; H heads.

    `inner`: width of a feed-forward layer. `tower_width`: D_v. `tower_blocks`: transformer blocks
    that a visual token passes in the tower, 0 where it has none; `tower_heads`: heads of each.
    `axes`: of positions, 3 where rows and columns of a picture count on their own (M-RoPE).
    """

    num_layers: int
    num_heads: int
    num_key_heads: int
    head_width: int
    width: int
    inner: int
    vocabulary: int
    tower_width: int
    grid: Grid
    tower_blocks: int = 0
    tower_heads: int = 1
    axes: int = 1


@dataclass(frozen=True, kw_only=True)
class Frames:
    """What the tower is to read of a clip: frames `kept` (int64, rising; None: all), and pictures
    of `extra` (m, H, W, 3) uint8, whose tokens come as `EXTRA` places before the first visual one.
    """

    kept: NDArray[np.int64] | None = None
    extra: NDArray[np.uint8] | None = None


@dataclass(frozen=True, kw_only=True)
class Route:
    """Which places of a row a layer computes; the others pass it by unchanged, without keys.

    `places` (m,) int64 rising. `gate` (m,): the layer's change of each place is scaled by it.
    """

    places: Array
    gate: Array


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """A first pass over places 0..`end` (that one, too), after which only the keys and values of
    `kept` (m,) int64 rising places, all text among them, are held in every layer. What follows
    reads those. A method with a prefix is asked for `on_layer`, `on_input` and `route` no more.
    """

    end: int
    kept: Array


@dataclass(frozen=True, kw_only=True)
class LayerCount:
    """Tokens of a layer in prefill: `queries` it computes, `keys` a query may see, and `cached`
    places it holds for decoding; `read` of those are read at a decoding step.
    """

    queries: int
    keys: int
    cached: int
    read: int

    @classmethod
    def alike(cls, num: int) -> LayerCount:
        """Of a layer that computes, sees, holds and reads the same `num` places."""
        return cls(queries=num, keys=num, cached=num, read=num)


Layers = Sequence[LayerCount]


class LayerLook(Protocol):
    """What `on_input` may look up of n places as they enter a layer; computed where it is asked."""

    @property
    def keys_before(self) -> Array:
        """(key heads, n, head width) keys of the layer before, with rotary, as cached."""

    def normed(self) -> Array:
        """(n, D) the states behind the model's final norm."""

    def attention(self, places: Array) -> Array:
        """(R, n) float32 attention of `places` (R,) to all places, mean over heads, that the layer
        to come would pay: its projections of its own input.
        """


class TokenCompressor:
    """A method at work on one row; every hook does nothing by default.

    `needs`: what the driver must gather before `on_vision`. `weights`: the method's own trained
    tensors by name, where it has any; they are shared by all rows and may carry gradients.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()

    tolerance: ClassVar[float] = 0.0
    """How far measured counts may be from `schedule()`, as a share of the visual places; above 0
    only where counts depend on the data.
    """

    def __init__(
        self, options: Any, facts: ModelFacts, weights: Mapping[str, Array] | None = None
    ) -> None:
        self.options = options
        self.facts = facts
        self.weights = weights or {}

    @classmethod
    def has(cls, *hooks: str) -> bool:
        """Whether the method does anything at one of these hooks."""
        return any(getattr(cls, hook) is not getattr(TokenCompressor, hook) for hook in hooks)

    @classmethod
    def works_in_tower(cls) -> bool:
        """Whether the method does anything before the projector: stored tokens come too late for
        it.
        """
        return cls.has("on_frames", "blocks", "on_block", "on_vision")

    @classmethod
    def fresh_weights(cls, options: Any, facts: ModelFacts, seed: int) -> dict[str, Array]:
        """Freshly drawn weights of a trained method, from which training starts; {} where a method
        has none. They need not be any good, but `keep` = 1.0 must change nothing with them, too.
        """
        return {}

    # -- before the language model ----------------------------------------------------------------

    def on_frames(self, clip: NDArray[np.uint8]) -> Frames:
        """Choose what the tower reads of a clip (F, H, W, 3) uint8."""
        return Frames()

    @property
    def blocks(self) -> Literal["unused", "wanted", "required"]:
        """Whether the tower is to be run block by block, through `on_block`.

        `wanted`: where it can be: a transformer of which one layer's patches are the tokens. In
        clips, whose tokens are pooled patches, it cannot.
        """
        return "unused"

    def block_bias(self, tokens: BlockTokens) -> Array | None:
        """(n,) what a block's attention logits to each of its tokens are raised by."""
        return None

    def on_block(self, block: int, num_blocks: int, tokens: BlockTokens) -> BlockTokens:
        """Merge tokens of one view between attention and MLP of `block`, of `num_blocks` that the
        tokens pass; views come one after another. What stands for no visual token (`NONE`) stays.
        """
        return tokens

    def on_vision(self, tokens: TowerTokens, question: Array | None) -> TowerTokens:
        """Choose or merge tower tokens. `question`: (D,) where `needs` has it."""
        return tokens

    def on_embeds(self, row: TokenRow) -> TokenRow:
        """Choose, merge or insert among the embeddings."""
        return row

    def prefix(self, row: TokenRow) -> Prefix | None:
        """A first pass of which only a part is remembered; None: one pass over all."""
        return None

    # -- within it --------------------------------------------------------------------------------

    def rows_before(self, layer: int, row: TokenRow) -> Array | None:
        """(R,) places whose attention in layer `layer` - 1 `on_layer` wants to see, else None."""
        return None

    def on_layer(self, layer: int, row: TokenRow, attention: Array | None) -> TokenRow:
        """Drop or merge places at the input of `layer`; the result holds places of `row` only.

        `attention` (R, n) float32: of the places asked for in `rows_before`, to all n places, mean
        over heads.
        """
        return row

    def on_input(self, layer: int, row: TokenRow, look: LayerLook) -> TokenRow:
        """As `on_layer`, which a method with this hook is not asked for: drop or merge places at
        the input of `layer`, from 1 on, by what it looks up of the row.
        """
        return row

    def route(self, layer: int, row: TokenRow) -> Route | None:
        """Places that `layer` computes; None: all."""
        return None

    # -- decoding ---------------------------------------------------------------------------------

    def decode_row_before(self, layer: int) -> bool:
        """Whether `on_decode` of `layer` wants the new token's attention in `layer` - 1."""
        return False

    def on_decode(
        self, step: int, layer: int, cached: TokenRow, attention: Array | None
    ) -> Array | None:
        """Cached places (m,) int64 rising that `layer` reads at this step; None: all.

        `cached`: the prompt's places in this layer (states are keys' inputs no more: (n, 0)).
        What was generated since is always read. `attention` (n,): of the new token to them.
        """
        return None

    # -- counting ---------------------------------------------------------------------------------

    def schedule(self, num_text: int, num_visual: int, num_other: int = 0) -> list[LayerCount]:
        """Counts of every layer for a row of these text, visual and other places *of the
        uncompressed row*, as they come to be by the method's rules; for data-dependent ones, on
        average. Of a method with a prefix: of its second pass, in which text that the first one
        reads may be counted as queries, too; the first pass is counted apart.
        """
        rest = num_text + num_other
        return [LayerCount.alike(rest + num) for num in self.visual_counts(num_text, num_visual)]

    def visual_counts(self, num_text: int, num_visual: int) -> list[int]:
        """Visual tokens at the input of every layer, for `schedule`: where they are dropped or
        merged, and no layer stores other places than it computes, this is all a method gives.
        """
        return [num_visual] * self.facts.num_layers

    def narrowing_layers(self, num_visual: int) -> tuple[int, ...]:
        """Layers before which the method may drop or change some of `num_visual` tokens: by default
        those before which fewer are left.
        """
        entering = [each.queries for each in self.schedule(1, num_visual)]
        return tuple(n for n in range(1, len(entering)) if entering[n] != entering[n - 1])

    def num_kept(self, num: int) -> int:
        """`kept_count` of `num` tokens at the option `keep`."""
        return kept_count(self.options.keep, num)

    def frame_budgets(self, tokens: TowerTokens) -> Iterator[tuple[TowerTokens, int]]:
        """Each frame's tokens, and how many of them are kept: rounded so that all frames' together
        are the share of all.
        """
        done = 0
        for part in tokens.by_frame():
            num = len(part.token)
            yield part, self.num_kept(done + num) - self.num_kept(done)
            done += num

    def overhead_flops(self, layers: Layers, num_text: int, num_visual: int) -> int | None:
        """What the method computes for a row beside its `layers`, multiply and add counted apart;
        None: nothing is known. `num_visual`: before anything is dropped.
        """
        return None


def kept_count(share: float, num: int) -> int:
    """How many of `num` tokens a share keeps: rounded, one at least, all at 1."""
    return num if share >= 1.0 else max(1, min(num, round(share * num))) if num else 0


@dataclass(frozen=True, kw_only=True)
class Compression:
    """A method as configured for one model: makes the compressor of each row."""

    name: str
    kind: type[TokenCompressor]
    options: Options
    facts: ModelFacts
    weights: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ConfigError for what this model's language model does not allow."""
        options, facts = self.options, self.facts
        asked = "renumber" in options.model_fields_set and getattr(options, "renumber", False)
        if facts.axes > 1 and asked:
            raise ConfigError(
                f"compressor {self.name}: renumber counts positions on one axis, and this model "
                f"has {facts.axes} (M-RoPE), which say where a token lies: leave it out"
            )

    def check_stored_tokens(self) -> None:
        """ConfigError where there are stored tokens only, and the method works in the tower."""
        if self.kind.works_in_tower():
            raise ConfigError(
                f"compressor {self.name} works in the vision tower and cannot answer from stored "
                "tokens: leave `compressor` empty for this"
            )

    def row(self) -> TokenCompressor:
        """A fresh compressor for one row."""
        return self.kind(self.options, self.facts, self.weights)

    def cuts(self, num_visual: int) -> tuple[int, ...]:
        """Layers at which a language model is cut for it: see `narrowing_layers`."""
        return self.row().narrowing_layers(num_visual)
