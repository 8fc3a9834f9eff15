"""Samples as a device would send them, made from the source images of a pair."""

from __future__ import annotations

import numpy as np

from driftline_shared.codec.tokens import encode_tokens
from driftline_shared.pair.pair import Pair
from driftline_shared.tokens import Sample, VisualTokens


def make_samples(pair: Pair, count: int, *, kept: int = 8, seed: int = 0) -> list[Sample]:
    """`count` samples of `kept` tokens each, int8, over the pair's own source rows."""
    rng = np.random.default_rng(seed)
    source = pair.source_set()
    grid = pair.token_space.grid
    found = []
    for number in range(count):
        image, question, answer = source.rows[int(rng.integers(len(source.rows)))]
        every = VisualTokens(
            values=source.tokens[image],
            positions=np.arange(grid.num_tokens, dtype=np.int32),
            grid=grid,
        )
        tokens = every.keep(rng.permutation(grid.num_tokens)[:kept])
        found.append(
            Sample(
                id=seed.to_bytes(8, "big") + number.to_bytes(8, "big"),
                question=question,
                answer=answer,
                tokens=encode_tokens(tokens, pair.token_space, "int8"),
                scores={"entropy": float(rng.random())},
                created_unix_s=1_700_000_000 + number,
                adapter_version=0,
            )
        )
    return found
