"""All tokens of an answer through an event and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from driftline_shared.codec.tokens import decode_tokens, encode_tokens
from driftline_shared.errors import DataError
from driftline_shared.tokens import Grid, TokenSpace, VisualTokens
from driftline_shared.trace.tokens import all_fields, all_tokens, coded_fields, coded_tokens
from tests.fakes.traces import answer_event

WIDTH = 8
GRID = Grid(rows=4, cols=4)
SPACE = TokenSpace(
    digest="b" * 64,
    grid=GRID,
    low=np.full(WIDTH, -3.0, np.float32),
    high=np.full(WIDTH, 3.0, np.float32),
    mean=np.zeros(WIDTH, np.float32),
    precision=np.eye(WIDTH, dtype=np.float32),
)


def some_tokens(positions: list[int]) -> VisualTokens:
    values = np.random.default_rng(0).normal(size=(len(positions), WIDTH)).astype(np.float32)
    return VisualTokens(values=values, positions=np.array(positions, np.int32), grid=GRID)


@pytest.mark.parametrize("positions", [list(range(16)), [0, 5, 9]], ids=["all", "survivors"])
@pytest.mark.parametrize(("codec", "error"), [("int8", 6 / 255 / 2 + 1e-6), ("fp16", 2e-3)])
def test_all_tokens_come_back(positions: list[int], codec: str, error: float) -> None:
    tokens = some_tokens(positions)
    event = replace(answer_event(1), **all_fields(tokens, SPACE, codec))  # type: ignore[arg-type]
    back = all_tokens(event, SPACE)
    assert back is not None
    assert back.grid == GRID
    np.testing.assert_array_equal(back.positions, tokens.positions)
    assert np.abs(back.values - tokens.values).max() <= error


def test_sampled_tokens_come_back_as_they_were_sent() -> None:
    coded = encode_tokens(some_tokens([1, 2, 11]), SPACE, "int4")
    event = replace(answer_event(1), **coded_fields(coded, (1, 2, 11)))
    assert coded_tokens(event) == coded
    decode_tokens(coded, SPACE)


def test_an_event_without_tokens_gives_none() -> None:
    assert all_tokens(answer_event(1), SPACE) is None
    assert coded_tokens(answer_event(1)) is None


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"all_tokens": b"xx"}, "halves"),
        ({"grid": None}, "grid"),
        ({"grid": (9, 999, 999)}, "grid"),
    ],
)
def test_bytes_that_are_no_tokens_are_refused(changes: dict[str, object], word: str) -> None:
    fields = {**all_fields(some_tokens(list(range(16))), SPACE, "fp16"), **changes}
    with pytest.raises(DataError, match=word):
        all_tokens(replace(answer_event(1), **fields), SPACE)  # type: ignore[arg-type]
