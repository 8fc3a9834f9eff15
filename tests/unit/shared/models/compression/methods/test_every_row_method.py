"""What all methods do alike with a row: nothing without an image, nothing where all is kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressor import TokenCompressor
from driftline_shared.models.compression.table import configured
from driftline_shared.tokens import Grid
from tests.fakes.compression import clip_kinds, some_facts, some_row

GRID = Grid(frames=4, rows=3, cols=5)
IN_ROW = ["divprune", "dycoke", "evs", "holitom", "longvu", "mod", "sparsevlm", "vidcom2", "voco"]


def made(name: str, **options: Any) -> TokenCompressor:
    facts = some_facts(GRID)
    plain = configured(name, options, facts)
    weights = plain.kind.fresh_weights(plain.options, facts, seed=0)
    return configured(name, options, facts, weights).row()


@pytest.mark.parametrize("name", IN_ROW)
def test_a_row_without_an_image_stays_whole(name: str) -> None:
    row = some_row(clip_kinds(GRID, 3, 4), GRID)
    text = row.take(row.text)
    method = made(name, keep=0.25)
    assert method.on_embeds(text) is text
    for layer in range(6):
        assert method.rows_before(layer, text) is None
        assert method.on_layer(layer, text, None) is text
        assert method.on_decode(0, layer, text, torch.ones(len(text))) is None
        route = method.route(layer, text)
        if route is not None:
            assert route.places.tolist() == list(range(len(text)))
            assert route.gate.tolist() == [1.0] * len(text)
    assert {(each.queries, each.read) for each in method.schedule(7, 0)} == {(7, 7)}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *[
            (name, {})
            for name in (*IN_ROW, "dart", "fastv", "holitom", "pyramiddrop", "ts_llava", "vtw")
        ],
        ("dycoke", {"merge": 0.9, "prune": 0.9}),
        ("sparsevlm", {"counts": "rank"}),
        ("sparsevlm", {"shares": (0.5, 0.2, 0.1)}),
    ],
)
def test_keeping_all_changes_nothing(name: str, options: dict[str, Any]) -> None:
    row, method = some_row(clip_kinds(GRID, 3, 4), GRID), made(name, keep=1.0, **options)
    assert method.on_embeds(row) is row
    for layer in range(6):
        assert method.rows_before(layer, row) is None
        assert method.route(layer, row) is None
        assert not method.decode_row_before(layer)
        assert method.on_decode(0, layer, row, None) is None
    assert {(each.queries, each.cached) for each in method.schedule(7, 60, 1)} == {(68, 68)}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("longvu", {"low_side": 0}),
        ("longvu", {"cut": "head"}),
        ("ts_llava", {"thumbnail_share": 1.0}),
        ("ts_llava", {"order": "Z"}),
        ("vidcom2", {"temperature": 0}),
        ("vidcom2", {"similarity": "euclid"}),
    ],
)
def test_wrong_options_are_named(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        made(name, **options)
