"""A made trace in seconds, without a model: samples cut from the pair's own source set.

Tokens and questions are real, which positions were kept and how unsure the device was are drawn by
a seed. For benches of the system's own speed: it says nothing about accuracy under a drift.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from driftline_lab.recording.record import START_UNIX_S
from driftline_shared.codec.tokens import encode_tokens
from driftline_shared.pair.pair import Pair
from driftline_shared.tokens import VisualTokens
from driftline_shared.trace.event import EventKind, TraceEvent
from driftline_shared.trace.manifest import Manifest, Subject
from driftline_shared.trace.tokens import coded_fields
from driftline_shared.trace.writer import PartLimits, open_writer

BATCH = 256


def record_source(
    folder: Path,
    pair: Pair,
    *,
    count: int,
    seed: int,
    rate: float,
    share: float = 0.5,
    distinct: int = 1_000,
) -> Manifest:
    """Write a trace of `count` answers, each a sample of `share` of its image's tokens.

    After `distinct` samples the same tokens and questions come again, under other ids.
    """
    subject = Subject(
        pair=pair.name,
        base_model=pair.base_model,
        token_space=pair.token_space.digest,
        token_width=pair.token_space.width,
        recorder="lab",
        source="source-set",
    )
    with open_writer(folder, subject, seed=seed, limits=PartLimits(rows=1_024)) as writer:
        events = _events(pair, count=count, seed=seed, rate=rate, share=share, distinct=distinct)
        while block := list(islice(events, BATCH)):
            writer.write_next(block)
    return writer.manifest


def _events(
    pair: Pair, *, count: int, seed: int, rate: float, share: float, distinct: int
) -> Iterator[TraceEvent]:
    ids = random.Random(seed)
    source, space = pair.source_set(), pair.token_space
    total = space.grid.num_tokens
    num_kept = max(1, round(share * total))
    for number in range(count):
        rng = np.random.default_rng([seed, number % distinct])
        image, question, answer = source.rows[number % distinct % len(source.rows)]
        kept = np.sort(rng.permutation(total)[:num_kept]).astype(np.int32)
        values = source.tokens[image][kept].astype(np.float32)
        tokens = VisualTokens(values=values, positions=kept, grid=space.grid)
        coded = encode_tokens(tokens, space, "int8")
        score = float(rng.random())
        yield TraceEvent(
            kind=EventKind.ANSWER,
            wall_unix_s=START_UNIX_S + number / rate,
            monotonic_s=number / rate,
            device="device-made",
            segment="source",
            domain="source",
            sample_id=ids.randbytes(16).hex(),
            question=question,
            answer=answer,
            reference=answer,
            correct=True,
            scores={"entropy": score},
            gate_kind="entropy",
            uncertainty=score,
            p_value=1.0 - score,
            uncertain=True,
            audit=False,
            sent=True,
            outcome="sent",
            adapter_version=0,
            **coded_fields(coded, tuple(kept.tolist())),
        )
