"""How many bytes a pair's samples and updates take on the wire, before any was sent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from driftline_shared.codec.tokens import codec_for, coded_size_bound, tokens_within
from driftline_shared.tokens import (
    MAX_SAMPLE_BYTES,
    CodedTokens,
    Grid,
    Sample,
    SamplingPolicy,
    TokenSpace,
    TokenTransform,
)
from driftline_shared.wire.samples import dump_sample

LEAST_SHARE = 0.10
"""Share of the adapter's weights in an update, as the cloud's `dwc.least_share`."""

MAX_FP16_SHARE = 0.10
"""Most bytes of an update per byte of the fp16 adapter, as the cloud's `dwc.max_fp16_share`."""

PLACE_BITS, VALUE_BITS = 0.8, 0.7
"""Of whole steps, as the cloud's search estimates them: share of its place's entropy that a
weight's place costs, bits of its number."""

MANIFEST_BYTES = 300
"""What the manifest of an update in whole steps takes: it names no tensor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleBytes:
    """`kept` of `num_tokens` tokens leave: `payload` at most, before zstd, and `envelope`.

    `wanted`: tokens that the policy's share asks for; fewer are kept where a sample may not be so
    large.
    """

    num_tokens: int
    wanted: int
    kept: int
    payload: int
    envelope: int


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateBytes:
    """`expected` bytes of an update with `share` of the weights; never more than `most`."""

    share: float
    expected: int
    most: int
    adapter_fp16: int


def sample_bytes(
    grid: Grid, width: int, policy: SamplingPolicy, transform: TokenTransform | None = None
) -> SampleBytes:
    """One sample under `policy`, with a question of 64 characters and an answer of 16.

    `transform`: the pair's token tables, if it has any.
    """
    one = np.zeros(width, dtype=np.float32)
    space = TokenSpace(
        digest="", grid=grid, low=one, high=one, mean=one, precision=one, transform=transform
    )
    codec = codec_for(policy.token_codec, space)
    wanted = max(1, math.floor(grid.num_tokens * policy.token_share + 0.5))
    most = min(MAX_SAMPLE_BYTES, policy.sample_bytes or MAX_SAMPLE_BYTES)
    kept = min(wanted, tokens_within(most, space, codec))
    payload = coded_size_bound(kept, space, codec) if kept else 0
    empty = Sample(
        id=bytes(16),
        question="q" * 64,
        answer="a" * 16,
        tokens=CodedTokens(codec=codec, num_tokens=1, grid=grid, payload=b"\0"),
        scores={"entropy": 0.5, "margin": 0.5},
        created_unix_s=1_700_000_000,
        adapter_version=1,
    )
    return SampleBytes(
        num_tokens=grid.num_tokens,
        wanted=wanted,
        kept=kept,
        payload=payload,
        envelope=len(dump_sample(empty)) - 1,
    )


def update_bytes(num_parameters: int, trained_share: float | None = None) -> UpdateBytes:
    """An update of an adapter in whole steps, the cloud's default form, and its manifest.

    `trained_share`: of the weights, what the pair's rounds train to the end, where it names one.
    """
    share = LEAST_SHARE if trained_share is None else min(LEAST_SHARE, trained_share)
    entropy = -share * math.log2(share) - (1 - share) * math.log2(1 - share)
    fp16 = 2 * num_parameters
    most = int(MAX_FP16_SHARE * fp16)
    bits = num_parameters * (PLACE_BITS * entropy + VALUE_BITS * share)
    expected = math.ceil(bits / 8) + MANIFEST_BYTES
    return UpdateBytes(share=share, expected=min(expected, most), most=most, adapter_fp16=fp16)
