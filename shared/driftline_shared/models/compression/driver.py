"""The driver: one row through the layers of the language model, a compressor's hooks in between.

    row -> on_embeds -> prefix? -> for each layer: rows_before, on_layer, route, layer -> norm

Prefill keeps explicit positions and a cache of a length per layer. What follows (generated tokens,
or an answer that is taught) reads that cache; `on_decode` may narrow what a layer reads of it. All
of it is differentiable.

Whatever a method does, text stays, places are only left out, and positions rise strictly (of three
axes, M-RoPE, the first does not fall); the driver checks it at every hook and names the method that
breaks it. What is added behind the first layers (DeepStack) goes with the places that are left.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from driftline_shared.errors import DataError, PairError
from driftline_shared.models.compression.compressor import (
    LayerCount,
    Prefix,
    Route,
    TokenCompressor,
)
from driftline_shared.models.compression.decoder import Decoder
from driftline_shared.models.compression.rows.attention import Rotary, attention_rows
from driftline_shared.models.compression.rows.key_values import RowCache
from driftline_shared.models.compression.rows.layer_look import TorchLook
from driftline_shared.models.compression.rows.rows import NONE, Kind, TokenRow


@dataclass(kw_only=True)
class Prefilled:
    """A row that has been read, ready to be answered.

    `row`: the places whose hidden states are known, `states` (n, D) behind the final norm; `origin`
    says which of the uncompressed row they were. `visual` (V',): tokens of the uncompressed row.
    `held`: each layer's places in the cache, states (n, 0). `layers`: counts as they were run; of a
    method with a prefix, those of the second pass, and `prefix` those of the first.
    """

    row: TokenRow
    held: list[TokenRow]
    cache: RowCache
    layers: list[LayerCount]
    prefix: list[LayerCount] = field(default_factory=list)
    visual: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    num_said: int = 0

    @cached_property
    def ends(self) -> list[int]:
        """The last position of each layer; generated tokens go on from there."""
        return [int(held.positions[0, -1]) for held in self.held]

    @property
    def survivors(self) -> Tensor:
        """(k,) int64 flat grid indices, rising: visual tokens of the deepest layer whose cache
        holds any; all of the uncompressed row where no layer does.
        """
        for held in reversed(self.held):
            if len(held.visual):
                return held.token[held.visual].sort().values
        return self.visual.sort().values

    @property
    def last(self) -> Tensor:
        """(D,) hidden state of the last place, off which the first token is read."""
        return self.row.states[-1]


@dataclass(frozen=True, kw_only=True)
class Driver:
    """Runs rows of one language model. `name`: the method's, for errors."""

    decoder: Decoder
    name: str

    # -- prefill ----------------------------------------------------------------------------------

    def prefill(self, compressor: TokenCompressor, row: TokenRow) -> Prefilled:
        """Read a row of n places; raises PairError where the method breaks what all must keep.

        Raises DataError for a row that does not end in text.
        """
        if len(row.positions) != self.decoder.axes:
            raise PairError(
                f"positions have {len(row.positions)} axes, and this language model's have "
                f"{self.decoder.axes}: make the batch with the model's own `batch`"
            )
        if not len(row) or int(row.kind[-1]) != Kind.TEXT:
            raise DataError("the prompt has no text behind the image to answer: ask a question")
        whole = _numbered(row)
        start = compressor.on_embeds(whole)
        self._check(whole, start, "on_embeds")
        cache = RowCache(self.decoder.num_layers)
        # From here on places are only left out; of numbers of their own even inserted ones are told
        # apart.
        places = _numbered(start)
        prefix = compressor.prefix(places)
        done = (
            self._in_one(compressor, places, cache)
            if prefix is None
            else self._in_two(places, prefix, cache)
        )
        cache.seal()
        assert done.row.origin is not None and start.origin is not None, "numbered above"
        done.row = replace(done.row, origin=start.origin[done.row.origin])
        done.visual = whole.token[whole.visual]
        return done

    def _in_one(self, compressor: TokenCompressor, row: TokenRow, cache: RowCache) -> Prefilled:
        held, rotary = [], self.decoder.rotary(row.states, row.positions)
        before = _Input(row.states, rotary, routed=False)
        for layer in range(self.decoder.num_layers):
            narrowed = self._narrowed(compressor, layer, row, rotary, before, cache)
            if narrowed is not row:
                hook = "on_input" if compressor.has("on_input") else "on_layer"
                self._check_subset(row, narrowed, f"{hook} of layer {layer}")
                rotary = self._rotary_of(row, narrowed, rotary)
                row = narrowed
            route = compressor.route(layer, row)
            before = _Input(row.states, rotary, routed=route is not None)
            row, kept = self._layer(layer, row, rotary, route, cache)
            held.append(_stateless(kept))
        counts = [LayerCount.alike(len(each)) for each in held]
        row = row.with_states(self.decoder.norm(row.states))
        return Prefilled(row=row, held=held, cache=cache, layers=counts)

    def _in_two(self, row: TokenRow, prefix: Prefix, cache: RowCache) -> Prefilled:
        first, second = self._split(row, prefix)
        kept = prefix.kept
        known = self._dense(first, cache, 0)
        cache.keep(kept)
        behind = self._dense(second, cache, len(kept))
        places = torch.cat([kept, torch.arange(len(first), len(row), device=kept.device)])
        held = row.take(places)
        num_layers = self.decoder.num_layers
        num_kept = len(kept)
        once = replace(LayerCount.alike(len(first)), cached=num_kept, read=num_kept)
        twice = replace(LayerCount.alike(len(places)), queries=len(second))
        return Prefilled(
            row=held.with_states(torch.cat([known[kept], behind])),
            held=[_stateless(held)] * num_layers,
            cache=cache,
            layers=[twice] * num_layers,
            prefix=[once] * num_layers,
        )

    def _dense(self, row: TokenRow, cache: RowCache, held: int) -> Tensor:
        """(n, D) hidden states of all layers over a row, no hook asked."""
        rotary = self.decoder.rotary(row.states, row.positions)
        for layer in range(self.decoder.num_layers):
            states = self.decoder.run(layer, row.states, rotary, cache, held)
            row = row.behind_layer(states)
        return self.decoder.norm(row.states)

    def _narrowed(
        self,
        compressor: TokenCompressor,
        layer: int,
        row: TokenRow,
        rotary: Rotary,
        before: _Input,
        cache: RowCache,
    ) -> TokenRow:
        """The places that enter a layer."""
        if not compressor.has("on_input"):
            seen = self._rows(compressor, layer, row, before, cache)
            return compressor.on_layer(layer, row, seen)
        if not layer:
            return row
        look = TorchLook(
            layer=self.decoder.layers[layer],
            norm=self.decoder.norm,
            states=row.states,
            rotary=rotary,
            keys_before=cache.last_keys,
        )
        return compressor.on_input(layer, row, look)

    def _rows(
        self,
        compressor: TokenCompressor,
        layer: int,
        row: TokenRow,
        before: _Input,
        cache: RowCache,
    ) -> Tensor | None:
        """(R, n) attention in the layer before, where the method wants to see some."""
        asked = compressor.rows_before(layer, row) if layer else None
        if asked is None:
            return None
        if before.routed:
            raise PairError(
                f"compressor {self.name} wants rows of attention of layer {layer - 1}, which does "
                "not compute all places"
            )
        return attention_rows(
            self.decoder.layers[layer - 1], before.states, before.rotary, cache.last_keys, asked
        )

    def _layer(
        self, layer: int, row: TokenRow, rotary: Rotary, route: Route | None, cache: RowCache
    ) -> tuple[TokenRow, TokenRow]:
        """The row behind a layer, and the places that the layer has cached."""
        if route is None:
            states = self.decoder.run(layer, row.states, rotary, cache)
            return row.behind_layer(states), row
        chosen = row.take(route.places)
        self._check_subset(row, chosen, f"route of layer {layer}")
        part = (rotary[0][route.places], rotary[1][route.places])
        done = self.decoder.run(layer, chosen.states, part, cache)
        # x + g (layer(x) - x), at the places that the layer computes.
        change = route.gate[:, None].to(done.dtype) * (done - chosen.states)
        return row.behind_layer(row.states.index_add(0, route.places, change)), chosen

    def _rotary_of(self, row: TokenRow, narrowed: TokenRow, rotary: Rotary) -> Rotary:
        assert row.origin is not None and narrowed.origin is not None, (
            "the driver numbers every row"
        )
        places = torch.searchsorted(row.origin, narrowed.origin)
        if torch.equal(row.positions[:, places], narrowed.positions):
            return rotary[0][places], rotary[1][places]
        # A method may number what is left anew.
        return self.decoder.rotary(narrowed.states, narrowed.positions)

    # -- what follows -----------------------------------------------------------------------------

    def extend(self, compressor: TokenCompressor, prefilled: Prefilled, embeds: Tensor) -> Tensor:
        """Read q further tokens (q, D) of text; returns their (q, D) hidden states.

        Tokens go one by one where the method narrows what decoding reads, else all at once.
        """
        size = 1 if compressor.has("on_decode") else max(1, len(embeds))
        parts = [self._step(compressor, prefilled, part) for part in embeds.split(size)]
        return torch.cat(parts)

    def _step(self, compressor: TokenCompressor, prefilled: Prefilled, states: Tensor) -> Tensor:
        cache, num = prefilled.cache, len(states)
        new = torch.arange(1, num + 1, device=states.device) + prefilled.num_said
        before: _Input | None = None
        place, axes = prefilled.ends[0], len(prefilled.row.positions)
        rotary = self.decoder.rotary(states, (place + new).expand(axes, -1))
        for layer, end in enumerate(prefilled.ends):
            # Where a method has numbered anew, layers end at different positions.
            if end != place:
                place = end
                rotary = self.decoder.rotary(states, (place + new).expand(axes, -1))
            if compressor.has("on_decode"):
                self._narrow(compressor, prefilled, layer, before)
            before = _Input(states, rotary, routed=False)
            seen = cache.num_read(layer) + prefilled.num_said
            states = self.decoder.run(layer, states, rotary, cache, seen)
        prefilled.num_said += num
        return self.decoder.norm(states)

    def _narrow(
        self,
        compressor: TokenCompressor,
        prefilled: Prefilled,
        layer: int,
        before: _Input | None,
    ) -> None:
        """Ask which of its cached places a layer is to read for one new token."""
        cache, held = prefilled.cache, prefilled.held[layer]
        attention = None
        if before is not None and compressor.decode_row_before(layer):
            attention = self._decode_row(prefilled, layer, before)
        places = compressor.on_decode(prefilled.num_said, layer, held, attention)
        if places is not None and places is cache.places_read(layer):
            return
        if places is not None:
            self._check_subset(held, held.take(places), f"on_decode of layer {layer}")
        cache.read_only(layer, places)
        prefilled.layers[layer] = replace(prefilled.layers[layer], read=cache.num_read(layer))

    def _decode_row(self, prefilled: Prefilled, layer: int, before: _Input) -> Tensor:
        """(n,) attention in the layer before, to the places that `layer` holds; 0 to those that
        the layer before did not read.
        """
        cache, first = prefilled.cache, layer - 1
        row = torch.zeros(1, dtype=torch.long, device=before.states.device)
        seen = attention_rows(
            self.decoder.layers[first], before.states, before.rotary, cache.last_keys, row
        )[0, : cache.num_read(first)]
        source, target = prefilled.held[first], prefilled.held[layer]
        read = cache.places_read(first)
        whole = seen if read is None else seen.new_zeros(len(source)).index_copy(0, read, seen)
        if len(source) == len(target):
            return whole
        # A layer that routes may hold fewer places than the one behind it.
        assert source.origin is not None and target.origin is not None, "numbered in prefill"
        num = max(int(source.origin[-1]), int(target.origin[-1])) + 1
        return whole.new_zeros(num).index_copy(0, source.origin, whole)[target.origin]

    # -- invariants -------------------------------------------------------------------------------

    def _split(self, row: TokenRow, prefix: Prefix) -> tuple[TokenRow, TokenRow]:
        order = torch.arange(len(row), device=row.kind.device)
        end = prefix.end + 1
        if not 0 < end < len(row):
            raise self._broken("prefix", f"ends at place {prefix.end} of {len(row)}")
        first, second = row.take(order[:end]), row.take(order[end:])
        self._check_subset(first, first.take(prefix.kept), "prefix")
        return first, second

    def _check_subset(self, row: TokenRow, narrowed: TokenRow, hook: str) -> None:
        """`narrowed` holds places of `row` only."""
        if narrowed is row:
            return
        self._check(row, narrowed, hook)
        assert row.origin is not None and narrowed.origin is not None, "checked above"
        if not bool(torch.isin(narrowed.origin, row.origin).all()):
            raise self._broken(hook, "made places that were not there")

    def _check(self, row: TokenRow, made: TokenRow, hook: str) -> None:
        if made is row:
            return
        if made.origin is None or len(made.origin) != len(made):
            raise self._broken(hook, "lost `origin`: make rows by the methods of TokenRow")
        parts = {len(made.states), len(made.kind), len(made.token), made.positions.shape[1]}
        if len(parts | ({made.deep.shape[1]} if made.deep is not None else set())) > 1:
            raise self._broken(hook, "made a row whose parts differ in length")
        assert row.origin is not None, "the driver numbers every row"
        if not torch.equal(row.origin[row.text], made.origin[made.text]):
            raise self._broken(hook, "dropped or moved text")
        known = made.origin[made.origin != NONE]
        # Of several axes the first says the time, which stands still within a picture.
        lowest = 1 if len(made.positions) == 1 else 0
        for numbers, least, what in (
            (made.positions[0], lowest, "positions"),
            (known, 1, "places"),
        ):
            if len(numbers) and bool((numbers.diff() < least).any()):
                raise self._broken(hook, f"broke the order: {what} do not rise strictly")
        if not bool(torch.isin(made.token[made.visual], row.token[row.visual]).all()):
            raise self._broken(hook, "made visual tokens that were not there")

    def _broken(self, hook: str, what: str) -> PairError:
        return PairError(f"compressor {self.name}: {hook} {what}; this is a fault of the method")


@dataclass(frozen=True)
class _Input:
    """What a layer was given, for rows of its attention: `states` (n, D)."""

    states: Tensor
    rotary: Rotary
    routed: bool


def _numbered(row: TokenRow) -> TokenRow:
    return replace(row, origin=torch.arange(len(row), device=row.kind.device))


def _stateless(row: TokenRow) -> TokenRow:
    return replace(row, states=row.states[:, :0], deep=None)
