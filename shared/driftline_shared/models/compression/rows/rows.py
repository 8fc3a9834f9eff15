"""What compressors read and write: one row of the language model's sequence, and tower tokens.

Letters: n places of a row, V visual tokens of the whole image, D width of the language model, D_v
of the tower, A position axes (1, or 3 of M-RoPE).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from driftline_shared.errors import PairError
from driftline_shared.models.compression.rows.arrays import (
    Array,
    array_namespace,
    counted,
    device,
    filled,
    found,
    to_device,
    with_rows,
)
from driftline_shared.tokens import Grid

NONE = -1
"""Token index of places that hold no visual token."""


class Kind(IntEnum):
    """What a place of a row is."""

    TEXT = 0
    VISUAL = 1
    SEPARATOR = 2
    """A newline or a text token *within* the image's stretch."""
    EXTRA = 3
    """A learned or made token that belongs to the image and to no cell of its grid."""


@dataclass(frozen=True, kw_only=True)
class TokenRow:
    """One row of the language model's sequence: n places in reading order, no padding.

    `states` (n, D): embeddings, or hidden states at the input of a layer. `kind` (n,) int64 of
    `Kind`. `token` (n,) int64: flat index into `grid` of the visual token a place stands for, else
    `NONE`. `positions` (A, n) int64, with A = 1 strictly rising. `origin` (n,) int64: a
    number for each place by which it is known, rising, and `NONE` for those inserted since; the
    driver sets it, and every method below keeps it: make rows by them or by `dataclasses.replace`.
    `deep` (m, n, D): what is added to the states behind the next m layers (DeepStack), 0 at places
    without a visual token; None: nothing. All on one device, torch tensors or numpy arrays.

    Places are never moved: a merged token *takes the place* of one of its members, so that reading
    order, grid order and positions stay one order.
    """

    states: Array
    kind: Array
    token: Array
    positions: Array
    grid: Grid
    origin: Array | None = None
    deep: Array | None = None

    def __len__(self) -> int:
        return int(self.kind.shape[0])

    @property
    def visual(self) -> Array:
        """(k,) places of visual tokens, rising."""
        return found(self.kind == Kind.VISUAL)

    @property
    def text(self) -> Array:
        """(t,) places of text, rising."""
        return found(self.kind == Kind.TEXT)

    @property
    def question(self) -> Array:
        """(t',) places of text behind the image, rising; all text where there is no image."""
        image = found(self.kind != Kind.TEXT)
        text = self.text
        return text[text > image[-1]] if len(image) else text

    @property
    def frame(self) -> Array:
        """(k,) frame of each visual token."""
        return self.token[self.visual] // (self.grid.rows * self.grid.cols)

    @property
    def cell(self) -> Array:
        """(k,) flat row-and-column index of each visual token within its frame."""
        return self.token[self.visual] % (self.grid.rows * self.grid.cols)

    def take(self, places: Array) -> TokenRow:
        """Only these places; `places` (m,) int64 strictly rising."""
        return replace(
            self,
            states=self.states[places],
            kind=self.kind[places],
            token=self.token[places],
            positions=self.positions[:, places],
            origin=None if self.origin is None else self.origin[places],
            deep=None if self.deep is None else self.deep[:, places],
        )

    def places_with(self, chosen: Array) -> Array:
        """Places, rising, of all that is no visual token, and of those the `chosen` (m,): indices
        into `visual`.
        """
        stays = self.kind != Kind.VISUAL
        stays[self.visual[chosen]] = True
        return found(stays)

    def keep_visual(self, chosen: Array) -> TokenRow:
        """Only the places `places_with` the `chosen`."""
        return self.take(self.places_with(chosen))

    def with_states(self, states: Array) -> TokenRow:
        """The same places with other states (n, D)."""
        return replace(self, states=states)

    def behind_layer(self, states: Array) -> TokenRow:
        """The same places behind a layer that gave `states` (n, D), and what is added there."""
        if self.deep is None:
            return self.with_states(states)
        left = self.deep[1:] if len(self.deep) > 1 else None
        return replace(self, states=states + self.deep[0], deep=left)

    def replaced(self, places: Array, states: Array) -> TokenRow:
        """States (m, D) at `places` (m,), for merged tokens. Raises PairError where layers add to
        them: `merged` knows what becomes of that.
        """
        if self.deep is not None:
            raise PairError(
                "this compressor merges tokens, and not what this model adds to them behind its "
                "first layers (DeepStack): take another method"
            )
        return self._with(places, states)

    def _with(self, places: Array, states: Array) -> TokenRow:
        xp = array_namespace(self.states)
        return self.with_states(
            with_rows(self.states, places, xp.astype(states, self.states.dtype, copy=False))
        )

    def merged(self, places: Array, merge: Callable[[Array], Array]) -> TokenRow:
        """Merged tokens at `places` (m,). `merge`: of all (n, D) states those of the merged (m, D);
        what deeper layers add at these places is merged alike.
        """
        made = self._with(places, merge(self.states))
        if self.deep is None:
            return made
        xp = array_namespace(self.deep)
        layers = [self.deep[layer] for layer in range(len(self.deep))]
        put = [with_rows(each, places, xp.astype(merge(each), each.dtype)) for each in layers]
        return replace(made, deep=xp.stack(put))

    def inserted(self, at: int, states: Array, kind: Kind = Kind.EXTRA) -> TokenRow:
        """`states` (m, D) before place `at`; what stands behind is moved on by m positions."""
        num, xp = len(states), array_namespace(self.states)
        kinds, absent = filled(num, int(kind), self.kind), filled(num, NONE, self.token)
        # Of several axes as text behind a picture: past the furthest, on all alike.
        last = xp.max(self.positions[:, :at]) if at else self.positions[:, :1] - 1
        steps = filled((len(self.positions), num), 1, self.positions) + counted(num, self.kind)
        states = xp.astype(states, self.states.dtype, copy=False)

        def around(whole: Array, new: Array) -> Array:
            return xp.concat([whole[:at], new, whole[at:]])

        return replace(
            self,
            states=around(self.states, states),
            kind=around(self.kind, kinds),
            token=around(self.token, absent),
            positions=xp.concat(
                [self.positions[:, :at], last + steps, self.positions[:, at:] + num], axis=1
            ),
            origin=None if self.origin is None else around(self.origin, absent),
            deep=None if self.deep is None else _inserted_none(self.deep, at, num),
        )

    def renumbered(self) -> TokenRow:
        """Positions without gaps, from the first one on; of several axes they stay as they are, for
        they say where in the picture a token lies.
        """
        if len(self.positions) > 1:
            return self
        return replace(self, positions=self.positions[:, :1] + counted(len(self), self.kind))


def _inserted_none(deep: Array, at: int, num: int) -> Array:
    """(m, n, D) with zeros at `num` more places before `at`."""
    layers, _, width = deep.shape
    nothing = filled((layers, num, width), 0.0, deep)
    return array_namespace(deep).concat([deep[:, :at], nothing, deep[:, at:]], axis=1)


@dataclass(frozen=True, kw_only=True)
class TowerTokens:
    """Tokens of one picture or clip as the tower gave them, before the projector.

    `values` (k, D_v) float32. `token` (k,) int64: strictly rising flat indices into `grid`; a
    merged token stands at the smallest index of its members. `size` (k,) float32: how many tower
    tokens each stands for.

    What a method `needs`, else None; H heads of width d_h, d = H d_h:

        attention       (V,) attention paid to each token by the tower's class token in its last
                        layer, heads not split: softmax(q K^T / sqrt(d))
        keys            (V, d) keys of that layer, heads side by side
        head_attention  (V, H) the same by head, softmax(q_h K_h^T / sqrt(d_h)), in the layer whose
                        output the tokens are (of several layers, the last)
        head_keys       (V, d) keys of that layer, heads side by side
        layers          (V, m D_v) hidden states of m layers, side by side

    A tower without a class token is asked for the mean over all tokens' attention. Of tokens that
    are made of several patches all are the patches' means, as pooling weighs them.
    """

    values: Array
    token: Array
    size: Array
    grid: Grid
    attention: Array | None = None
    keys: Array | None = None
    head_attention: Array | None = None
    head_keys: Array | None = None
    layers: Array | None = None

    @property
    def frame(self) -> Array:
        """(k,) frame of each token."""
        return self.token // (self.grid.rows * self.grid.cols)

    @classmethod
    def bare(
        cls, values: Array, token: Array, grid: Grid, size: Array | None = None
    ) -> TowerTokens:
        """Without what a method may need besides, in the order of `token`; `size`: ones if None."""
        xp = array_namespace(values)
        token = to_device(token, device(values))
        size = filled(len(values), 1.0, values, xp.float32) if size is None else size
        order = xp.argsort(token)
        return cls(values=values[order], token=token[order], size=size[order], grid=grid)

    @classmethod
    def joined(cls, parts: Sequence[TowerTokens]) -> TowerTokens:
        """Tokens of several frames, one behind the other, without what a method may need."""
        values, token, size = (
            array_namespace(parts[0].values).concat([getattr(part, name) for part in parts])
            for name in ("values", "token", "size")
        )
        return cls.bare(values, token, parts[0].grid, size)

    def by_frame(self) -> list[TowerTokens]:
        """The tokens of each frame that has any."""
        frames = array_namespace(self.token).unique_values(self.frame)
        return [self.take(found(self.frame == frame)) for frame in frames]

    def take(self, chosen: Array, values: Array | None = None) -> TowerTokens:
        """Only the `chosen` (m,) rising indices, with other `values` (m, D_v) where given."""
        read = {name: getattr(self, name) for name in READ_OF_TOWER}
        return TowerTokens(
            values=self.values[chosen] if values is None else values,
            token=self.token[chosen],
            size=self.size[chosen],
            grid=self.grid,
            **{name: None if each is None else each[chosen] for name, each in read.items()},
        )


READ_OF_TOWER = ("attention", "keys", "head_attention", "head_keys", "layers")
"""Fields of `TowerTokens` that are read only where a method needs them."""


@dataclass(frozen=True, kw_only=True)
class BlockTokens:
    """Tokens of one view within a block of the tower, between attention and MLP, in any order.

    `states` (n, D_v). `keys` (n, d): the block's keys, mean over heads. `size` (n,) float32: how
    many tokens of the view each stands for. `token` (n,) int64: the smallest grid index of its
    members, `NONE` for what is no visual token: the class token, and patches of padding.
    """

    states: Array
    keys: Array
    size: Array
    token: Array
