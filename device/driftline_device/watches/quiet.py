"""Quiet hours: spans of a day, in local time, that may run over midnight."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, tzinfo

_SPAN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")

Span = tuple[int, int]
"""Minutes of a day, the second excluded."""


def parse_span(text: str) -> Span:
    """`22:00-06:30`; ValueError for another form, and where both ends are one."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no span of a day; for example 22:00-06:30")
    hour, minute, last_hour, last_minute = map(int, found.groups())
    begin, end = 60 * hour + minute, 60 * last_hour + last_minute
    if begin == end:
        raise ValueError(f"{text!r} begins where it ends")
    return begin, end


def is_quiet(spans: Sequence[Span], unix_s: float, zone: tzinfo | None = None) -> bool:
    """Whether the moment lies in one of `spans`; `zone` None: of this machine."""
    moment = datetime.fromtimestamp(unix_s, zone)
    minute = 60 * moment.hour + moment.minute
    return any(
        begin <= minute < end if begin < end else minute >= begin or minute < end
        for begin, end in spans
    )
