"""Numbers and rows as Markdown, and the marks that plots share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MARKERS = "osD^v<>Pp*hX"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]


def percent(value: float | None) -> str:
    """A share as text."""
    return "–" if value is None else f"{100 * value:.1f}"


def spread_text(found: Mapping[str, Any] | None, *, scale: float = 100.0, digits: int = 1) -> str:
    """Mean, interval and the worst seed of `statistics.spread`."""
    if found is None:
        return "–"
    text = f"{scale * found['mean']:.{digits}f}"
    if found["num"] > 1:
        text += f" ± {scale * found['interval']:.{digits}f}"
        text += f" ({scale * found['worst']:.{digits}f})"
    return text


def kilobytes(value: float) -> str:
    """Bytes as kB of 1,000."""
    return f"{value / 1000:.1f}"


def duration(seconds: float) -> str:
    """As people say it: "85 s", "12 min", "3.4 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


HOW = "Mean over seeds, ± half the 95 % interval, the worst seed in brackets."
