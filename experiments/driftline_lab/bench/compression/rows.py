"""A row of the table: what one method at one budget gave and cost, over all questions."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from driftline_shared.models.compression.flops import Cost

T = TypeVar("T")

BASELINE = "uncompressed"


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One question answered once; `kind`: what it asks about, empty where that is not told.

    Seconds: `encode_s` from pixels to tower tokens, `first_s` from there to the first token,
    `token_s` each further one (None where there was none). A method that gets in before the
    projector has no such tokens: its `encode_s` is the uncompressed model's for the same question,
    and what it takes beyond that is in `first_s`. `visual`: places a query may see, mean over
    layers, less those that are no visual tokens in the uncompressed row.
    """

    kind: str
    right: bool
    encode_s: float
    first_s: float
    token_s: float | None
    cost: Cost
    visual: float
    overhead: int | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """Means over questions of what is counted, medians of what is timed.

    `share`: accuracy over that of the uncompressed model; `share_error`: one standard error of it,
    over paired questions. `first_ratio`, `token_ratio`, `pixels_ratio`: median over questions of
    the time over the uncompressed model's for the same question, next to it in the same process;
    `pixels_ratio` is from pixels, the others from tower tokens. `overhead_flops`: what the method
    adds by its published formula, None where none is given. `by_kind`: accuracy by what is asked.
    """

    label: str
    keep: float | None
    accuracy: float
    share: float
    share_error: float
    visual_tokens: float
    prefill_flops: float
    prefix_flops: float
    prefill_share: float
    overhead_flops: float | None
    encode_ms: float
    first_ms: float
    first_ratio: float
    pixels_ratio: float
    token_ms: float | None
    token_ratio: float | None
    kv_bytes: float
    kv_read_bytes: float
    kv_share: float
    trained: bool
    by_kind: dict[str, float]


def make_row(
    label: str,
    turns: Sequence[Turn],
    baseline: Sequence[Turn],
    *,
    keep: float | None = None,
    trained: bool = False,
) -> Row:
    """`turns` beside the `baseline`'s of the same questions in the same order."""
    ours, theirs = _mean(turn.right for turn in turns), _mean(turn.right for turn in baseline)
    counted = [turn.overhead for turn in turns]
    pairs = list(zip(turns, baseline, strict=True))
    steps = [(one.token_s, two.token_s) for one, two in pairs if one.token_s and two.token_s]
    whole = _mean(turn.cost.prefill for turn in baseline)
    cached = _mean(turn.cost.stored for turn in baseline)
    return Row(
        label=label,
        keep=keep,
        accuracy=ours,
        share=ours / theirs if theirs else math.nan,
        share_error=_error([one.right - two.right for one, two in pairs]) / theirs
        if theirs
        else math.nan,
        visual_tokens=_mean(turn.visual for turn in turns),
        prefill_flops=_mean(turn.cost.prefill for turn in turns),
        prefix_flops=_mean(turn.cost.prefix for turn in turns),
        prefill_share=_mean(turn.cost.prefill for turn in turns) / whole,
        overhead_flops=None if None in counted else _mean(each or 0 for each in counted),
        encode_ms=1e3 * statistics.median(turn.encode_s for turn in turns),
        first_ms=1e3 * statistics.median(turn.first_s for turn in turns),
        first_ratio=statistics.median(one.first_s / two.first_s for one, two in pairs),
        pixels_ratio=statistics.median(
            (one.encode_s + one.first_s) / (two.encode_s + two.first_s) for one, two in pairs
        ),
        token_ms=1e3 * statistics.median(one for one, _ in steps) if steps else None,
        token_ratio=statistics.median(one / two for one, two in steps) if steps else None,
        kv_bytes=_mean(turn.cost.stored for turn in turns),
        kv_read_bytes=_mean(turn.cost.read for turn in turns),
        kv_share=_mean(turn.cost.stored for turn in turns) / cached,
        trained=trained,
        by_kind={
            kind: _mean(turn.right for turn in turns if turn.kind == kind)
            for kind in sorted({turn.kind for turn in turns if turn.kind})
        },
    )


def _mean(values: Any) -> float:
    return float(statistics.fmean(values))


def _error(differences: Sequence[int]) -> float:
    """Standard error of the mean of paired differences."""
    if len(differences) < 2:
        return math.nan
    return statistics.stdev(differences) / math.sqrt(len(differences))


# -- as text -------------------------------------------------------------------------------------

_COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("method", lambda row: row.label + ("*" if row.trained else "")),
    ("keep", lambda row: "" if row.keep is None else f"{row.keep:g}"),
    ("accuracy", lambda row: _percent(row.accuracy)),
    ("of full", lambda row: _percent(row.share)),
    ("±", lambda row: f"{100 * row.share_error:.1f}"),
    ("visual", lambda row: f"{row.visual_tokens:.1f}"),
    ("prefill", lambda row: _percent(row.prefill_share)),
    ("MFLOP", lambda row: f"{row.prefill_flops / 1e6:.1f}"),
    ("first token", lambda row: f"{row.first_ms:.2f} ms"),
    ("ratio", lambda row: f"{row.first_ratio:.2f}"),
    ("from pixels", lambda row: f"{row.pixels_ratio:.2f}"),
    ("per token", lambda row: "" if row.token_ms is None else f"{row.token_ms:.2f} ms"),
    ("ratio", lambda row: "" if row.token_ratio is None else f"{row.token_ratio:.2f}"),
    ("KV KiB", lambda row: f"{row.kv_bytes / 1024:.1f}"),
    ("KV", lambda row: _percent(row.kv_share)),
)


def as_text(rows: Sequence[Row]) -> str:
    """A Markdown table of them; * marks trained methods."""
    return markdown(_COLUMNS, rows)


def markdown(columns: Sequence[tuple[str, Callable[[T], str]]], rows: Sequence[T]) -> str:
    """A Markdown table, padded so that it reads as it is; all but the first column to the right.

    `columns`: heads, and what stands under them in a row.
    """
    head = [name for name, _ in columns]
    lines = [head, *([cell(row) for _, cell in columns] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def padded(line: Sequence[str]) -> str:
        first, *rest = line
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        return "| " + " | ".join(cells) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(padded(line) for line in (head, rule, *lines[1:]))


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
