"""What compressors read and write: one row of the language model's sequence, and tower tokens.

Letters: n places of a row, V visual tokens of the whole image, D width of the language model, D_v
of the tower, A position axes (1, or 3 of M-RoPE).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from torch import Tensor

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
    `NONE`. `positions` (A, n) int64, strictly rising on the first axis. `origin` (n,) int64: a
    number for each place by which it is known, rising, and `NONE` for those inserted since; the
    driver sets it, and every method below keeps it: make rows by them or by `dataclasses.replace`.
    All on one device.

    Places are never moved: a merged token *takes the place* of one of its members, so that reading
    order, grid order and positions stay one order.
    """

    states: Tensor
    kind: Tensor
    token: Tensor
    positions: Tensor
    grid: Grid
    origin: Tensor | None = None

    def __len__(self) -> int:
        return int(self.kind.shape[0])

    @property
    def visual(self) -> Tensor:
        """(k,) places of visual tokens, rising."""
        return (self.kind == Kind.VISUAL).nonzero()[:, 0]

    @property
    def text(self) -> Tensor:
        """(t,) places of text, rising."""
        return (self.kind == Kind.TEXT).nonzero()[:, 0]

    @property
    def question(self) -> Tensor:
        """(t',) places of text behind the image, rising; all text where there is no image."""
        image = (self.kind != Kind.TEXT).nonzero()[:, 0]
        text = self.text
        return text[text > image.max()] if len(image) else text

    @property
    def frame(self) -> Tensor:
        """(k,) frame of each visual token."""
        return self.token[self.visual] // (self.grid.rows * self.grid.cols)

    @property
    def cell(self) -> Tensor:
        """(k,) flat row-and-column index of each visual token within its frame."""
        return self.token[self.visual] % (self.grid.rows * self.grid.cols)

    def take(self, places: Tensor) -> TokenRow:
        """Only these places; `places` (m,) int64 strictly rising."""
        return replace(
            self,
            states=self.states[places],
            kind=self.kind[places],
            token=self.token[places],
            positions=self.positions[:, places],
            origin=None if self.origin is None else self.origin[places],
        )

    def places_with(self, chosen: Tensor) -> Tensor:
        """Places, rising, of all that is no visual token, and of those the `chosen` (m,): indices
        into `visual`.
        """
        stays = self.kind != Kind.VISUAL
        stays[self.visual[chosen]] = True
        return stays.nonzero()[:, 0]

    def keep_visual(self, chosen: Tensor) -> TokenRow:
        """Only the places `places_with` the `chosen`."""
        return self.take(self.places_with(chosen))

    def with_states(self, states: Tensor) -> TokenRow:
        """The same places with other states (n, D)."""
        return replace(self, states=states)

    def replaced(self, places: Tensor, states: Tensor) -> TokenRow:
        """States (m, D) at `places` (m,), for merged tokens."""
        return self.with_states(self.states.index_copy(0, places, states.to(self.states.dtype)))

    def inserted(self, at: int, states: Tensor, kind: Kind = Kind.EXTRA) -> TokenRow:
        """`states` (m, D) before place `at`; what stands behind is moved on by m positions."""
        num = len(states)
        kinds, absent = self.kind.new_full((num,), int(kind)), self.token.new_full((num,), NONE)
        before, behind = torch.arange(at), torch.arange(at, len(self))
        device = self.kind.device
        last = self.positions[:, :at].amax(dim=1, keepdim=True) if at else self.positions[:, :1] - 1
        steps = torch.arange(1, num + 1, device=device)
        origin = self.origin
        if origin is not None:
            origin = torch.cat([origin[before], absent, origin[behind]])
        return replace(
            self,
            states=torch.cat([self.states[before], states.to(self.states), self.states[behind]]),
            kind=torch.cat([self.kind[before], kinds, self.kind[behind]]),
            token=torch.cat([self.token[before], absent, self.token[behind]]),
            positions=torch.cat(
                [self.positions[:, before], last + steps, self.positions[:, behind] + num], dim=1
            ),
            origin=origin,
        )

    def renumbered(self) -> TokenRow:
        """Positions without gaps, from the first one on, on every axis alike."""
        first = self.positions[:, :1]
        steps = torch.arange(len(self), device=self.positions.device)
        return replace(self, positions=first + steps)


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

    values: Tensor
    token: Tensor
    size: Tensor
    grid: Grid
    attention: Tensor | None = None
    keys: Tensor | None = None
    head_attention: Tensor | None = None
    head_keys: Tensor | None = None
    layers: Tensor | None = None

    @property
    def frame(self) -> Tensor:
        """(k,) frame of each token."""
        return self.token // (self.grid.rows * self.grid.cols)

    @classmethod
    def bare(
        cls, values: Tensor, token: Tensor, grid: Grid, size: Tensor | None = None
    ) -> TowerTokens:
        """Without what a method may need besides, in the order of `token`; `size`: ones if None."""
        token = token.to(values.device)
        size = torch.ones(len(values), device=values.device) if size is None else size
        order = token.argsort()
        return cls(values=values[order], token=token[order], size=size[order], grid=grid)

    @classmethod
    def joined(cls, parts: Sequence[TowerTokens]) -> TowerTokens:
        """Tokens of several frames, one behind the other, without what a method may need."""
        values, token, size = (
            torch.cat([getattr(part, name) for part in parts])
            for name in ("values", "token", "size")
        )
        return cls.bare(values, token, parts[0].grid, size)

    def by_frame(self) -> list[TowerTokens]:
        """The tokens of each frame that has any."""
        return [self.take((self.frame == f).nonzero()[:, 0]) for f in self.frame.unique()]

    def take(self, chosen: Tensor, values: Tensor | None = None) -> TowerTokens:
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

    states: Tensor
    keys: Tensor
    size: Tensor
    token: Tensor
