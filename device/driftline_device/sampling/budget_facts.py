"""What a sample of this pair costs, by coding some as the device would."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import numpy as np

from driftline_device.sampling.budget_plan import PairFacts
from driftline_device.sampling.sampler import BATCH_BYTES
from driftline_shared.codec.tokens import (
    AUTO,
    TOKEN_CODECS,
    TRANSFORM_CODECS,
    codec_for,
    coded_size_bound,
    encode_tokens,
)
from driftline_shared.errors import DriftlineError
from driftline_shared.pair.pair import Pair
from driftline_shared.tokens import Sample, TokenSpace, VisualTokens
from driftline_shared.wire import EncodedSample

NUM_CODED = 4
"""Images coded with each codec: tokens of a pair differ by a few per cent."""

TEXT = "is there a red circle in the picture?"
"""A question of usual length."""


def pair_facts(pair: Pair) -> PairFacts:
    """From the pair's source calibration set; from bounds where it ships none."""
    space = pair.token_space
    codecs = [*TOKEN_CODECS, *(TRANSFORM_CODECS if space.transform is not None else ())]
    pictures = list(_pictures(pair))
    each = {codec: _token_bytes(codec, pictures, space) for codec in codecs}
    return PairFacts(
        num_tokens=space.grid.num_tokens,
        token_bytes=each,
        overhead=_overhead(space),
        auto=codec_for(AUTO, space),
    )


def _pictures(pair: Pair) -> Iterable[VisualTokens]:
    """Every second token of some source images."""
    grid = pair.token_space.grid
    try:
        values = pair.source_set().tokens[:NUM_CODED]
    except (DriftlineError, OSError):
        return
    positions = np.arange(0, grid.num_tokens, 2, dtype=np.int32)
    for image in values:
        if image.shape == (grid.num_tokens, pair.token_space.width):
            kept = image[positions].astype(np.float32)
            yield VisualTokens(values=kept, positions=positions, grid=grid)


def _token_bytes(codec: str, pictures: list[VisualTokens], space: TokenSpace) -> float:
    if not pictures:
        num = space.grid.num_tokens
        return coded_size_bound(num, space, codec) / num
    return statistics.fmean(
        len(encode_tokens(tokens, space, codec).payload) / tokens.num_tokens for tokens in pictures
    )


def _overhead(space: TokenSpace) -> float:
    """All of a sample but its tokens."""
    one = VisualTokens(
        values=space.mean[None, :].astype(np.float32),
        positions=np.zeros(1, np.int32),
        grid=space.grid,
    )
    coded = encode_tokens(one, space, next(iter(TOKEN_CODECS)))
    sample = Sample(
        id=bytes(16),
        question=TEXT,
        answer="yes",
        tokens=coded,
        scores={"entropy": 0.5, "margin": 0.5},
        priority=0.5,
        created_unix_s=1_700_000_000,
        adapter_version=1,
    )
    return len(EncodedSample.of(sample).body) - len(coded.payload) + BATCH_BYTES
