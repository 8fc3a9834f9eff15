"""The tokens that an event carries: those that were sampled, and all of them where recorded."""

from __future__ import annotations

from typing import Literal, TypedDict

import numpy as np

from driftline_shared.codec.tokens import decode_tokens, encode_tokens
from driftline_shared.errors import DataError
from driftline_shared.tokens import MAX_TOKENS, CodedTokens, Grid, TokenSpace, VisualTokens
from driftline_shared.trace.event import TraceEvent

AllTokens = Literal["", "int8", "fp16"]
"""How all tokens of an answer are recorded. Empty: not at all."""


class AllFields(TypedDict):
    """The fields of an event that hold all tokens of its answer."""

    grid: tuple[int, ...]
    all_codec: str
    all_kept: tuple[int, ...] | None
    all_tokens: bytes


class CodedFields(TypedDict):
    """The fields of an event that hold its sampled tokens."""

    grid: tuple[int, ...]
    kept: tuple[int, ...]
    token_codec: str
    coded: bytes


def all_fields(tokens: VisualTokens, space: TokenSpace, codec: AllTokens) -> AllFields:
    """(K, D) float32 `tokens` as fields of an event.

    `int8`: as a sample codes them. `fp16`: K x D little-endian IEEE 754 halves and nothing else;
    what a half cannot hold becomes infinite. Raises SampleError for tokens that int8 cannot code.
    """
    if codec == "fp16":
        with np.errstate(over="ignore"):
            payload = tokens.values.astype("<f2").tobytes()
    else:
        payload = encode_tokens(tokens, space, "int8").payload
    whole = tokens.num_tokens == tokens.grid.num_tokens
    return AllFields(
        grid=_grid(tokens.grid),
        all_codec=codec,
        all_kept=None if whole else tuple(tokens.positions.tolist()),
        all_tokens=payload,
    )


def coded_fields(tokens: CodedTokens, kept: tuple[int, ...]) -> CodedFields:
    """Tokens as they are sent, and their positions, as fields of an event."""
    return CodedFields(
        grid=_grid(tokens.grid), kept=kept, token_codec=tokens.codec, coded=tokens.payload
    )


def coded_tokens(event: TraceEvent) -> CodedTokens | None:
    """The sampled tokens as they were sent; None for an event without."""
    if event.coded is None or event.kept is None:
        return None
    return CodedTokens(
        codec=event.token_codec or "",
        num_tokens=len(event.kept),
        grid=_grid_of(event),
        payload=event.coded,
    )


def all_tokens(event: TraceEvent, space: TokenSpace) -> VisualTokens | None:
    """(K, D) float32: all tokens of the answer; None where they were not recorded.

    Raises DataError or SampleError where the bytes are not tokens of `space`.
    """
    if event.all_tokens is None:
        return None
    grid = _grid_of(event)
    count = grid.num_tokens if event.all_kept is None else len(event.all_kept)
    if event.all_codec != "fp16":
        coded = CodedTokens(
            codec=event.all_codec or "", num_tokens=count, grid=grid, payload=event.all_tokens
        )
        return decode_tokens(coded, space)
    if len(event.all_tokens) != 2 * count * space.width:
        raise DataError(
            f"event {event.sequence}: {len(event.all_tokens)} bytes are not {count} tokens of "
            f"{space.width} halves"
        )
    values = np.frombuffer(event.all_tokens, "<f2").reshape(count, space.width)
    where = np.arange(count) if event.all_kept is None else np.asarray(event.all_kept)
    return VisualTokens(
        values=values.astype(np.float32), positions=where.astype(np.int32), grid=grid
    )


def _grid(grid: Grid) -> tuple[int, ...]:
    return (grid.frames, grid.rows, grid.cols)


def _grid_of(event: TraceEvent) -> Grid:
    sides = event.grid or ()
    if len(sides) != 3 or min(sides) < 1 or max(sides) > MAX_TOKENS:
        raise DataError(f"event {event.sequence} holds tokens, but no grid")
    grid = Grid(frames=sides[0], rows=sides[1], cols=sides[2])
    if grid.num_tokens > MAX_TOKENS:
        raise DataError(f"event {event.sequence}: a grid of more than {MAX_TOKENS} tokens")
    return grid
