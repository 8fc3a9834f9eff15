"""What the values of one event must be, beyond its checksum."""

from __future__ import annotations

import math
import re
from itertools import pairwise

from driftline_shared.bounds import MAX_SCORES
from driftline_shared.status import SampleVerdict
from driftline_shared.tokens import MAX_TOKENS
from driftline_shared.trace.event import EventKind, TraceEvent

MIN_WALL_UNIX_S, MAX_WALL_UNIX_S = -62_135_596_800.0, 253_402_300_800.0
"""The years 1 to 9999: what a date can be."""

_MEASURED = ("uncertainty", "p_value", "model_s")
_COUNTS = (
    *("adapter_version", "from_version", "sample_bytes", "update_bytes", "num_samples"),
    *("policy_revision", "model_s"),
)
_ID = re.compile(r"[0-9a-f]{32}")
_UPDATES = frozenset({"applied", "failed", "rolled_back"})
_ROUNDS = frozenset({"done", "rejected", "failed"})
_VERDICTS: dict[EventKind, frozenset[str]] = {
    EventKind.SAMPLE: frozenset(str(verdict) for verdict in SampleVerdict),
    EventKind.UPDATE: _UPDATES,
    EventKind.ROUND: _ROUNDS,
}


def what_is_wrong(event: TraceEvent) -> str:
    """A sentence on the first value of `event` that cannot be; empty where all can."""
    if not (math.isfinite(event.wall_unix_s) and math.isfinite(event.monotonic_s)):
        return "its time is not finite"
    if not MIN_WALL_UNIX_S <= event.wall_unix_s < MAX_WALL_UNIX_S:
        return f"wall_unix_s is {event.wall_unix_s:g}, of no year from 1 to 9999"
    if wrong := _numbers(event):
        return wrong
    for name in ("sample_id", "trace_id"):
        value = getattr(event, name)
        if value is not None and not _ID.fullmatch(value):
            return f"{name} is {value[:40]!r}, not 32 hex digits"
    if len(event.scores) > MAX_SCORES:
        return f"it has {len(event.scores)} scores, at most {MAX_SCORES} are read"
    known = _VERDICTS.get(event.kind)
    if known is not None and event.verdict not in known:
        return (
            f"verdict of a {event.kind} is {event.verdict!r}; known are {', '.join(sorted(known))}"
        )
    if event.kind is EventKind.ANSWER and event.answer is None:
        return "an answer without its text"
    return _tokens(event)


def _numbers(event: TraceEvent) -> str:
    """The first number that no device or cloud gives: JSON has no text for one that is no number,
    and a count is not negative.
    """
    measured = {f"scores.{name[:40]}": value for name, value in event.scores.items()}
    for name in _MEASURED:
        measured[name] = getattr(event, name)
    for name, value in measured.items():
        if value is not None and not math.isfinite(value):
            return f"{name} is {value}, not a finite number"
    for name in _COUNTS:
        value = getattr(event, name)
        if value is not None and value < 0:
            return f"{name} is {value}, below 0"
    return ""


def _tokens(event: TraceEvent) -> str:
    present = [event.coded is not None, event.kept is not None, event.token_codec is not None]
    if any(present) and not all(present):
        return "coded, kept and token_codec come together or not at all"
    if event.all_tokens is not None and event.all_codec not in ("int8", "fp16"):
        return f"all_codec is {event.all_codec!r}; known are fp16, int8"
    if event.grid is not None and math.prod(max(1, side) for side in event.grid) > MAX_TOKENS:
        return f"grid {event.grid} has more than {MAX_TOKENS} places"
    carries = event.coded is not None or event.all_tokens is not None
    if not carries:
        return ""
    if event.grid is None or len(event.grid) != 3 or min(event.grid) < 1:
        return f"grid is {event.grid}, not frames, rows and columns"
    places = math.prod(event.grid)
    for name in ("kept", "all_kept"):
        positions = getattr(event, name)
        if positions is None:
            continue
        rising = all(a < b for a, b in pairwise(positions))
        if not positions or not rising or positions[0] < 0 or positions[-1] >= places:
            return f"{name} does not rise within the {places} places of the grid"
    return ""
