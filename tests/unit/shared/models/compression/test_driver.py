"""The driver against the library's own passes, and what it refuses of methods and models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import MistralConfig, MistralModel, Qwen2Config, Qwen2Model

from driftline_shared.errors import DataError, PairError
from driftline_shared.models.compression.compressor import (
    LayerLook,
    Options,
    Prefix,
    Route,
    TokenCompressor,
)
from driftline_shared.models.compression.decoder import Decoder
from driftline_shared.models.compression.driver import Driver, Prefilled
from driftline_shared.models.compression.rows.rows import NONE, Kind, TokenRow
from driftline_shared.tokens import Grid
from tests.fakes.compression import clip_kinds, random_llama, sizes_of, some_facts, some_row

WIDTH, LAYERS, CELLS = 32, 4, 6
FACTS = some_facts(
    Grid(rows=2, cols=3), num_layers=LAYERS, num_heads=4, num_key_heads=2, width=WIDTH, inner=48
)
KINDS = clip_kinds(FACTS.grid, 3, 4)


@pytest.fixture(params=["llama", "qwen2"])
def language(request: pytest.FixtureRequest) -> Any:
    """A random decoder with fewer key heads than heads, and biases where the library has them."""
    return random_llama(FACTS, 3, qwen2=request.param == "qwen2")


def _row(seed: int = 0, gaps: bool = True) -> TokenRow:
    row = some_row(KINDS, FACTS.grid, width=WIDTH, seed=seed)
    steps = torch.arange(len(row))
    return replace(row, positions=(steps + (steps > 4) * 3 * gaps)[None])


def _driver(language: Any) -> Driver:
    return Driver(decoder=Decoder(language), name="mine")


def _words(num: int) -> Tensor:
    return torch.randn(num, WIDTH, generator=torch.Generator().manual_seed(9))


def _eager(language: Any, states: Tensor, positions: Tensor) -> Any:
    """The library's own pass, which tells its attention."""
    language.set_attn_implementation("eager")
    try:
        return language(
            inputs_embeds=states[None],
            position_ids=positions[None],
            # Without a mask the library takes a gap in positions for the start of another text.
            attention_mask=torch.ones_like(positions)[None],
            output_attentions=True,
            use_cache=False,
        )
    finally:
        language.set_attn_implementation("sdpa")


class _Method(TokenCompressor):
    """A compressor made of the hooks a test gives it."""

    def __init__(self, **hooks: Callable[..., Any]) -> None:
        super().__init__(Options(), FACTS)
        for name, hook in hooks.items():
            setattr(self, name, hook)

    def on_decode(
        self, step: int, layer: int, cached: TokenRow, attention: Tensor | None
    ) -> Tensor | None:
        """All; tests put their own in its place."""
        return None


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_without_hooks_it_is_the_librarys_pass(language: Any, attention: str) -> None:
    row, words = _row(), _words(4)
    new = row.positions[0, -1] + torch.arange(1, 5)
    states = torch.cat([row.states, words])
    positions = torch.cat([row.positions[0], new])
    wanted = _eager(language, states, positions).last_hidden_state[0]
    language.set_attn_implementation(attention)
    plain = TokenCompressor(Options(), FACTS)
    done = _driver(language).prefill(plain, row)
    torch.testing.assert_close(done.row.states, wanted[: len(row)], atol=1e-5, rtol=1e-5)
    said = _driver(language).extend(plain, done, words[:3])
    last = _driver(language).extend(plain, done, words[3:])
    torch.testing.assert_close(torch.cat([said, last]), wanted[len(row) :], atol=1e-5, rtol=1e-5)
    assert done.survivors.tolist() == list(range(CELLS))
    assert [count.cached for count in done.layers] == [len(row)] * LAYERS


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_rows_of_attention_are_the_librarys(language: Any, seed: int) -> None:
    row = _row(seed)
    wanted = _eager(language, row.states, row.positions[0]).attentions
    asked = torch.tensor([2, 7, len(row) - 1])
    seen: dict[int, Tensor] = {}

    def on_layer(layer: int, given: TokenRow, attention: Tensor | None) -> TokenRow:
        if attention is not None:
            seen[layer] = attention
        return given

    _driver(language).prefill(_Method(rows_before=lambda *_: asked, on_layer=on_layer), row)
    assert sorted(seen) == [1, 2, 3], "there is no layer before the first"
    for layer, rows in seen.items():
        literal = wanted[layer - 1][0].mean(dim=0)[asked]
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows, literal, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_new_tokens_attention_is_the_librarys(language: Any) -> None:
    row, words, seen = _row(), _words(2), {}

    def on_decode(step: int, layer: int, cached: TokenRow, attention: Tensor | None) -> None:
        if attention is not None:
            seen[step, layer] = attention

    method = _Method(decode_row_before=lambda layer: layer == 2, on_decode=on_decode)
    driver = _driver(language)
    driver.extend(method, driver.prefill(method, row), words)
    positions = torch.cat([row.positions[0], row.positions[0, -1] + torch.tensor([1, 2])])
    wanted = _eager(language, torch.cat([row.states, words]), positions).attentions
    assert sorted(seen) == [(0, 2), (1, 2)]
    for step, _ in seen:
        literal = wanted[1][0].mean(dim=0)[len(row) + step, : len(row)]
        torch.testing.assert_close(seen[step, 2], literal, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_attention_goes_to_the_places_that_the_layer_holds(language: Any) -> None:
    """What the layer before lacks got nothing from it; what is dropped since is gone."""
    row, seen = _row(), {}
    some = (row.token != 3).nonzero()[:, 0]

    def route(layer: int, given: TokenRow) -> Route | None:
        return Route(places=some, gate=torch.ones(len(some))) if layer == 1 else None

    def on_layer(layer: int, given: TokenRow, _: Tensor | None) -> TokenRow:
        return given.keep_visual(torch.tensor([0, 3, 4])) if layer == 2 else given

    def on_decode(step: int, layer: int, cached: TokenRow, attention: Tensor | None) -> None:
        if attention is not None:
            seen[layer] = attention, cached

    method = _Method(
        route=route, on_layer=on_layer, on_decode=on_decode, decode_row_before=lambda _: True
    )
    driver = _driver(language)
    driver.extend(method, driver.prefill(method, row), _words(1))
    before, _ = seen[1]
    behind, cached = seen[2]
    assert cached.token[cached.visual].tolist() == [0, 3, 4]
    assert behind[cached.visual][1] == 0, "layer 1 did not hold token 3"
    assert bool((behind[cached.token != 3] > 0).all())
    assert len(before) == len(some) and len(behind) == len(cached)


@torch.no_grad()
def test_a_routed_layer_changes_only_its_places_by_its_gate(language: Any) -> None:
    row = _row()
    places = torch.tensor([0, 1, 2, 4, 7, 10, 11, 12, 13])
    gate = torch.tensor([1.0, 1, 1, 0.3, 0.7, 1, 1, 1, 1])
    got: dict[int, Tensor] = {}

    def on_layer(layer: int, given: TokenRow, _: Tensor | None) -> TokenRow:
        got[layer] = given.states
        return given

    method = _Method(
        on_layer=on_layer,
        route=lambda layer, _: Route(places=places, gate=gate) if layer == 1 else None,
    )
    done = _driver(language).prefill(method, row)
    alone = _eager_layer(language, 1, got[1][places], row.positions[0, places])
    wanted = got[1].clone()
    for number, place in enumerate(places.tolist()):
        wanted[place] += gate[number] * (alone[number] - got[1][place])
    torch.testing.assert_close(got[2], wanted, atol=1e-5, rtol=1e-5)
    assert done.cache.lengths() == [len(row), len(places), len(row), len(row)]
    assert [count.queries for count in done.layers] == done.cache.lengths()


def _eager_layer(language: Any, layer: int, states: Tensor, positions: Tensor) -> Tensor:
    rotary = language.rotary_emb(states[None], position_ids=positions[None])
    mask = torch.full((len(states), len(states)), float("-inf")).triu(1)[None, None]
    result: Tensor = language.layers[layer](
        states[None], attention_mask=mask, position_embeddings=rotary
    )
    return result[0]


@torch.no_grad()
def test_layers_that_number_anew_go_on_from_their_own_last_position(language: Any) -> None:
    row, words = _row(), _words(2)

    def on_layer(layer: int, given: TokenRow, _: Tensor | None) -> TokenRow:
        return given.take(given.text).renumbered() if layer == 2 else given

    method, driver = _Method(on_layer=on_layer), _driver(language)
    done = driver.prefill(method, row)
    said = driver.extend(method, done, words)
    new = torch.arange(1, 3)
    old = torch.cat([row.positions[0], row.positions[0, -1] + new])
    states = torch.cat([row.states, words])
    for layer in range(2):
        states = _eager_layer(language, layer, states, old)
    text = torch.cat([row.text, len(row) + new - 1])
    states = states[text]
    for layer in range(2, LAYERS):
        states = _eager_layer(language, layer, states, torch.arange(len(text)))
    wanted = language.norm(states)
    got = torch.cat([done.row.states, said])
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_tokens_at_once_and_one_by_one_are_the_same(language: Any) -> None:
    driver, words = _driver(language), _words(5)
    plain, stepping = TokenCompressor(Options(), FACTS), _Method()
    at_once = driver.extend(plain, driver.prefill(plain, _row()), words)
    stepped = driver.extend(stepping, driver.prefill(stepping, _row()), words)
    torch.testing.assert_close(at_once, stepped, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_layer_may_read_less_at_one_step_and_all_at_the_next(language: Any) -> None:
    row, words = _row(), _words(3)
    text = row.text

    def on_decode(step: int, layer: int, cached: TokenRow, _: Tensor | None) -> Tensor | None:
        return text if step == 1 and layer >= 2 else None

    method, driver = _Method(on_decode=on_decode), _driver(language)
    done = driver.prefill(method, row)
    parts, reads = [], []
    for word in words.split(1):
        parts.append(driver.extend(method, done, word))
        reads.append([count.read for count in done.layers])
    n = len(row)
    assert reads == [[n] * 4, [n, n, len(text), len(text)], [n] * 4]
    plain = TokenCompressor(Options(), FACTS)
    whole = driver.extend(plain, driver.prefill(plain, row), words)
    torch.testing.assert_close(parts[0], whole[:1], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(parts[1], whole[1:2], atol=1e-3)


class _Looking(TokenCompressor):
    """Remembers what it may look up before each layer, and spoils the row before the third."""

    def __init__(self, spoil: Callable[[TokenRow], TokenRow] = lambda row: row) -> None:
        super().__init__(Options(), FACTS)
        self.seen: dict[int, tuple[Tensor, ...]] = {}
        self.spoil = spoil

    def on_input(self, layer: int, row: TokenRow, look: LayerLook) -> TokenRow:
        """All of it."""
        asked = torch.tensor([2, len(row) - 1])
        self.seen[layer] = (look.keys_before, look.normed(), look.attention(asked))
        return self.spoil(row) if layer == 2 else row

    def on_layer(self, layer: int, row: TokenRow, attention: Tensor | None) -> TokenRow:
        """Not asked for."""
        raise AssertionError("on_input stands for it")


@torch.no_grad()
def test_what_enters_a_layer_can_be_looked_up(language: Any) -> None:
    row, method = _row(gaps=False), _Looking()
    done = _driver(language).prefill(method, row)
    attentions = _eager(language, row.states, row.positions[0]).attentions
    assert sorted(method.seen) == [1, 2, 3]
    whole = language(inputs_embeds=row.states[None], use_cache=True, output_hidden_states=True)
    cache = whole.past_key_values
    for layer, (keys, normed, rows) in method.seen.items():
        torch.testing.assert_close(keys, cache.layers[layer - 1].keys[0], atol=1e-5, rtol=1e-5)
        states = whole.hidden_states[layer][0]
        torch.testing.assert_close(normed, language.norm(states), atol=1e-5, rtol=1e-5)
        own = attentions[layer][0].mean(dim=0)[[2, -1]]
        torch.testing.assert_close(rows, own, atol=1e-5, rtol=1e-5)
    assert len(done.survivors) == CELLS
    late = _Looking(lambda row: row.take(torch.arange(1, len(row))))
    with pytest.raises(PairError, match=r"compressor mine: on_input of layer 2 .*dropped"):
        _driver(language).prefill(late, row)


def _repeat(row: TokenRow) -> TokenRow:
    visual = row.visual
    return row.take(torch.arange(len(row)).index_copy(0, visual[:1], visual[1:2]))


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        (lambda row: row.take(torch.arange(1, len(row))), "dropped or moved text"),
        (_repeat, "do not rise strictly"),
        (lambda row: replace(row, origin=None), "lost `origin`"),
        (
            lambda row: replace(row, positions=row.positions * (row.kind == Kind.TEXT)),
            "positions do not rise strictly",
        ),
        (
            lambda row: replace(row, token=row.token.masked_fill(row.token == 0, CELLS + 1)),
            "made visual tokens",
        ),
        (lambda row: replace(row, states=row.states[1:]), "parts differ in length"),
    ],
)
def test_what_all_must_keep_is_checked(
    language: Any, fault: Callable[[TokenRow], TokenRow], what: str
) -> None:
    driver = _driver(language)
    with pytest.raises(PairError, match=f"compressor mine: on_embeds .*{what}"):
        driver.prefill(_Method(on_embeds=fault), _row())
    late = _Method(on_layer=lambda layer, row, _: fault(row) if layer == 2 else row)
    with pytest.raises(PairError, match=f"compressor mine: on_layer of layer 2 .*{what}"):
        driver.prefill(late, _row())


def test_routes_prefixes_and_reads_hold_all_text(language: Any) -> None:
    driver, row = _driver(language), _row()
    few, most = torch.arange(4, len(row)), torch.arange(len(row) - 1)
    dropped = "dropped or moved text"
    routing = _Method(route=lambda *_: Route(places=few, gate=torch.ones(len(few))))
    with pytest.raises(PairError, match=f"route of layer 0 {dropped}"):
        driver.prefill(routing, row)
    forgetful = _Method(prefix=lambda _: Prefix(end=9, kept=torch.tensor([1, 2, 9])))
    with pytest.raises(PairError, match=f"prefix {dropped}"):
        driver.prefill(forgetful, row)
    endless = _Method(prefix=lambda _: Prefix(end=len(row) - 1, kept=most))
    with pytest.raises(PairError, match="prefix ends at place 13 of 14"):
        driver.prefill(endless, row)
    reading = _Method(on_decode=lambda *_: most)
    with pytest.raises(PairError, match=f"on_decode of layer 0 {dropped}"):
        driver.extend(reading, driver.prefill(reading, row), _words(1))


def test_places_are_not_added_within_the_layers(language: Any) -> None:
    made = _Method(on_layer=lambda layer, row, _: row.inserted(4, row.states[:1]))
    with pytest.raises(PairError, match="on_layer of layer 0 made places that were not there"):
        _driver(language).prefill(made, _row())


def test_a_routed_layer_has_no_rows_of_attention(language: Any) -> None:
    everything = Route(places=torch.arange(14), gate=torch.ones(14))
    method = _Method(route=lambda *_: everything, rows_before=lambda *_: torch.tensor([13]))
    with pytest.raises(PairError, match="rows of attention of layer 0"):
        _driver(language).prefill(method, _row())


def test_a_row_must_end_in_text(language: Any) -> None:
    row = _row().take(torch.arange(9))
    with pytest.raises(DataError, match="no text behind the image"):
        _driver(language).prefill(_Method(), row)


def test_rows_of_several_axes_are_refused(language: Any) -> None:
    row = replace(_row(), positions=_row().positions.expand(3, -1))
    with pytest.raises(PairError, match="3 axes"):
        _driver(language).prefill(_Method(), row)


def test_other_decoders_are_refused() -> None:
    with pytest.raises(PairError, match="this pair's is 'mistral'"):
        Decoder(MistralModel(MistralConfig(**sizes_of(FACTS))))
    sliding = Qwen2Config(**sizes_of(FACTS), use_sliding_window=True, max_window_layers=1)
    with pytest.raises(PairError, match="qwen2 has sliding_attention"):
        Decoder(Qwen2Model(sliding))


def test_survivors_are_those_of_the_deepest_layer_that_holds_any(language: Any) -> None:
    def on_layer(layer: int, row: TokenRow, _: Tensor | None) -> TokenRow:
        chosen = {1: [0, 2, 5], 3: []}.get(layer)
        return row if chosen is None else row.keep_visual(torch.tensor(chosen, dtype=torch.long))

    done = _driver(language).prefill(_Method(on_layer=on_layer), _row())
    assert done.survivors.tolist() == [0, 2, 5]
    forgotten = _Method(on_embeds=lambda row: row.keep_visual(torch.empty(0, dtype=torch.long)))
    without = _driver(language).prefill(forgotten, _row())
    assert without.survivors.tolist() == list(range(CELLS)), "no layer holds any: all were read"


def test_inserted_places_are_told_apart(language: Any) -> None:
    def on_embeds(row: TokenRow) -> TokenRow:
        return row.inserted(3, row.states[:2])

    def on_layer(layer: int, row: TokenRow, _: Tensor | None) -> TokenRow:
        return row.take(torch.cat([torch.arange(4), torch.arange(5, len(row))]))

    method = _Method(
        on_embeds=on_embeds,
        on_layer=lambda layer, row, _: on_layer(layer, row, _) if layer == 1 else row,
    )
    done: Prefilled = _driver(language).prefill(method, _row(gaps=False))
    assert done.row.kind[3] == Kind.EXTRA and done.row.kind[4] == Kind.VISUAL
    assert done.row.origin is not None
    assert done.row.origin.tolist() == [0, 1, 2, NONE, *range(3, 14)]
    assert done.row.positions[0].tolist() == [0, 1, 2, 3, *range(5, 16)]
