"""Selection: the highest scores, ties by position, never more bytes than allowed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from driftline_device.sampling.choice import TokenChoice, top_positions
from driftline_device.sampling.selector import Coded, select
from driftline_shared.codec.tokens import decode_tokens, encode_tokens
from driftline_shared.tokens import Grid, RegionLayout, Regions, TokenSpace, VisualTokens

GRID = Grid(rows=4, cols=4)
WIDTH = 8
ONES = np.ones(WIDTH, np.float32)
ALL = TokenChoice(share=1.0)
SPACE = TokenSpace(
    digest="0" * 64,
    grid=GRID,
    low=-4 * ONES,
    high=4 * ONES,
    mean=0 * ONES,
    precision=np.eye(WIDTH, dtype=np.float32),
)


def image(seed: int = 0) -> VisualTokens:
    values = np.random.default_rng(seed).normal(size=(GRID.num_tokens, WIDTH))
    positions = np.arange(GRID.num_tokens, dtype=np.int32)
    return VisualTokens(values=values.astype(np.float32), positions=positions, grid=GRID)


def int8(tokens: VisualTokens) -> Coded:
    return Coded(tokens=encode_tokens(tokens, SPACE, "int8"))


def test_select_sends_the_kept_tokens_and_nothing_else() -> None:
    tokens, scores = image(), np.arange(16.0)
    coded = select(tokens, scores, int8, choice=TokenChoice(share=0.25), max_bytes=10_000)
    assert coded is not None
    got = decode_tokens(coded.tokens, SPACE)
    assert got.positions.tolist() == [12, 13, 14, 15]
    np.testing.assert_allclose(got.values, tokens.values[12:], atol=8 / 255)


def test_bytes_fall_with_the_share() -> None:
    tokens, scores = image(), np.arange(16.0)
    sizes = []
    for share in (0.1, 0.25, 0.5, 1.0):
        coded = select(tokens, scores, int8, choice=TokenChoice(share=share), max_bytes=10_000)
        assert coded is not None
        sizes.append(coded.num_bytes)
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.3 * sizes[-1]


@given(st.integers(0, 200), st.integers(0, 50))
def test_select_never_exceeds_the_byte_budget(max_bytes: int, seed: int) -> None:
    scores = np.random.default_rng(seed).random(16)
    coded = select(image(seed), scores, int8, choice=TokenChoice(share=1.0), max_bytes=max_bytes)
    if coded is None:
        # Truly nothing fits: even the single best token is too large.
        best = image(seed).keep(top_positions(scores, image().positions, 1))
        assert int8(best).num_bytes > max_bytes
    else:
        assert coded.num_bytes <= max_bytes


def test_select_gives_up_below_the_least_and_in_few_steps() -> None:
    tried: list[int] = []

    def stubborn(tokens: VisualTokens) -> Coded:
        """Hardly smaller with fewer tokens, as a picture is."""
        tried.append(tokens.num_tokens)
        regions = Regions(
            layout=RegionLayout.WHOLE, height=64, width=64, thumbnail=b"", crops=bytes(9_000)
        )
        return Coded(tokens=int8(tokens).tokens, regions=regions)

    scores = np.arange(16.0)
    limits: dict[str, int] = {"max_bytes": 9_000, "least": 8}
    assert select(image(), scores, stubborn, choice=ALL, step=3, **limits) is None
    assert tried == [16, 13, 10]
    assert (
        select(image(), scores, stubborn, choice=TokenChoice(share=0.25), max_bytes=20_000, least=8)
        is None
    )
    found = select(
        image(), scores, stubborn, choice=TokenChoice(share=0.5), max_bytes=20_000, least=8
    )
    assert found is not None and found.tokens.num_tokens == 8
