"""Samples as devices send them, made of a pair's own source set; needs no torch."""

from __future__ import annotations

import numpy as np

from driftline_shared.codec.tokens import codec_for, encode_tokens
from driftline_shared.pair.pair import Pair
from driftline_shared.tokens import Sample, VisualTokens


def samples_of(pair: Pair, count: int, share: float = 0.5, *, codec: str = "int8") -> list[Sample]:
    """Rows of the source set as samples: a share of each image's tokens, drawn by a fixed seed,
    coded by `codec`, a name or `auto`.
    """
    rng = np.random.default_rng(0)
    source, space = pair.source_set(), pair.token_space
    total = space.grid.num_tokens
    name, found = codec_for(codec, space), []
    for number in range(count):
        image, question, answer = source.rows[number % len(source.rows)]
        kept = np.sort(rng.permutation(total)[: max(1, round(share * total))]).astype(np.int32)
        tokens = VisualTokens(values=source.tokens[image][kept], positions=kept, grid=space.grid)
        found.append(
            Sample(
                id=number.to_bytes(16, "big"),
                question=question,
                answer=answer,
                tokens=encode_tokens(tokens, space, name),
                created_unix_s=0,
                adapter_version=0,
            )
        )
    return found
