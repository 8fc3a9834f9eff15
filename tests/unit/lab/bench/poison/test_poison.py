"""A round that was learnt is known again by what it was learnt from, not by the ids of samples."""

from __future__ import annotations

from dataclasses import replace

from driftline_lab.bench.poison.run import content_digest
from driftline_shared.tokens import CodedTokens, Grid, Sample


def sample(number: int, payload: bytes = b"1", owner_answer: str = "") -> Sample:
    grid = Grid(frames=1, rows=1, cols=1)
    return Sample(
        id=number.to_bytes(16, "big"),
        question="?",
        answer="",
        tokens=CodedTokens(codec="int8", num_tokens=1, grid=grid, payload=payload),
        created_unix_s=0,
        adapter_version=0,
        owner_answer=owner_answer,
    )


def test_attacks_that_number_their_samples_alike_are_told_apart() -> None:
    honest = sample(1)
    known = content_digest([honest], [sample(2)])
    assert known == content_digest([sample(1)], [sample(2)])
    for other in (
        content_digest([sample(1, b"2")], [sample(2)]),
        content_digest([sample(1, owner_answer="circle")], [sample(2)]),
        content_digest([replace(honest, question="what")], [sample(2)]),
        content_digest([honest], [sample(2, b"2")]),
        content_digest([honest, sample(2)], []),
    ):
        assert other != known
