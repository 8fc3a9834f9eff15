"""What the values of one event must be, beyond its checksum."""

from __future__ import annotations

import math
import re
from itertools import pairwise

from driftline_shared.bounds import MAX_SCORES
from driftline_shared.status import SampleVerdict
from driftline_shared.trace.event import EventKind, TraceEvent

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


def _tokens(event: TraceEvent) -> str:
    present = [event.coded is not None, event.kept is not None, event.token_codec is not None]
    if any(present) and not all(present):
        return "coded, kept and token_codec come together or not at all"
    if event.all_tokens is not None and event.all_codec not in ("int8", "fp16"):
        return f"all_codec is {event.all_codec!r}; known are fp16, int8"
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
