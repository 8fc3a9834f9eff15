"""Samples made up for tests; their floats survive the wire's float32."""

from __future__ import annotations

import random

from driftline_proto.v1 import uplink_pb2
from driftline_shared.tokens import CodedTokens, Grid, RegionLayout, Regions, Sample
from driftline_shared.wire import EncodedSample, to_sample


def make_sample(number: int, *, priority: float = 0.0, payload_bytes: int = 100) -> Sample:
    """Sample `number`: the id holds the number, the payload is random but its own."""
    payload = random.Random(number).randbytes(payload_bytes)
    return Sample(
        id=number.to_bytes(16, "big"),
        question=f"what is {number}?",
        answer=f"número {number}",
        tokens=CodedTokens(codec="int8", num_tokens=3, grid=Grid(rows=2, cols=4), payload=payload),
        scores={"entropy": 0.5, "margin": 0.25},
        priority=priority,
        created_unix_s=1_700_000_000 + number,
        adapter_version=number % 3,
        audit=number % 2 == 0,
    )


def encoded(number: int, *, priority: float = 0.0, payload_bytes: int = 100) -> EncodedSample:
    """Sample `number` as a sampler gives it to the spool."""
    sample = make_sample(number, priority=priority, payload_bytes=payload_bytes)
    return EncodedSample.of(sample)


def to_batch(device_id: str, token_space: str, samples: list[Sample]) -> uplink_pb2.SampleBatch:
    """One message of samples."""
    return uplink_pb2.SampleBatch(
        device_id=device_id,
        token_space=token_space,
        samples=[to_sample(sample) for sample in samples],
    )


def as_sent(batch: uplink_pb2.SampleBatch) -> uplink_pb2.EncodedBatch:
    """The batch as the call takes it: the same bytes."""
    return uplink_pb2.EncodedBatch.FromString(batch.SerializeToString())


def make_regions(number: int) -> Regions:
    """Regions within bounds that fit the grid of `make_sample`; their bytes are no pictures."""
    draw = random.Random(number)
    return Regions(
        layout=RegionLayout.MOSAIC,
        height=32,
        width=64,
        thumbnail=draw.randbytes(40),
        crops=draw.randbytes(400),
    )
