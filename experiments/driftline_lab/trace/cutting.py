"""Which events of a trace stay when it is cut, and how several become one."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice, repeat
from pathlib import Path

from driftline_lab.trace.rewriting import write_events
from driftline_shared.errors import ConfigError, DataError
from driftline_shared.trace.event import EventKind, TraceEvent
from driftline_shared.trace.manifest import Manifest, Subject
from driftline_shared.trace.reader import Trace, open_trace


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """What stays; every condition that is given must hold. `rows`: first and behind the last,
    counted from 0. Times in seconds since 1970: from `since` on, before `until`.
    """

    rows: tuple[int, int | None] = (0, None)
    since: float | None = None
    until: float | None = None
    segments: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()

    def of(self, events: Iterator[TraceEvent]) -> Iterator[TraceEvent]:
        """The events that stay, with the numbers they have."""
        first, end = self.rows
        # No event behind `end` is asked for: it may lie in a part that is broken.
        for event in islice(events, first, max(first, end) if end is not None else None):
            if self._keeps(event):
                yield event

    def _keeps(self, event: TraceEvent) -> bool:
        return (
            (self.since is None or event.wall_unix_s >= self.since)
            and (self.until is None or event.wall_unix_s < self.until)
            and (not self.segments or event.segment in self.segments)
            and (not self.devices or event.device in self.devices)
            and (not self.domains or event.domain in self.domains)
            and (not self.kinds or event.kind in self.kinds)
        )


def parse_rows(text: str) -> tuple[int, int | None]:
    """`100:200`, `100:` or `:200`; ConfigError for anything else."""
    first, colon, end = text.partition(":")
    if not colon or not all(side.strip().isdecimal() or not side.strip() for side in (first, end)):
        raise ConfigError(f"--rows {text!r} is not FIRST:END, for example 100:200, 100: or :200")
    return int(first or 0), int(end) if end.strip() else None


def parse_kinds(texts: Sequence[str]) -> frozenset[str]:
    """Kinds of events; ConfigError for one there is not."""
    known = [str(kind) for kind in EventKind]
    for text in texts:
        if text not in known:
            raise ConfigError(f"--kind {text!r}; known kinds are {', '.join(known)}")
    return frozenset(texts)


def parse_time(text: str) -> float:
    """Seconds since 1970 of a number or an ISO 8601 time (UTC if it names no zone)."""
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        if math.isfinite(seconds):
            return seconds
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is no time: give seconds since 1970 or, for example, 2026-11-27T12:00"
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def merge(folders: Sequence[Path], out: Path) -> Manifest:
    """One trace of several, in order of wall time; events are numbered anew.

    DataError if they are of different token spaces, pairs or base models or an event is in two of
    them, ConfigError if one is named twice.
    """
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise ConfigError("merge needs two or more different traces, each named once")
    traces = [open_trace(folder) for folder in folders]
    subject = _common(traces)
    events = _in_order(traces)
    first = replace(traces[0].manifest, derived=())
    licences = {trace.manifest.licence for trace in traces}
    if len(licences) > 1:
        first = replace(first, licence="; ".join(sorted(filter(None, licences))))
    if len({trace.manifest.seed for trace in traces}) > 1:
        first = replace(first, seed=None)
    return write_events(
        out, events, like=first, subject=subject, renumber=True,
        derived=f"merge of {len(traces)} traces",
    )  # fmt: skip


def _in_order(traces: Sequence[Trace]) -> Iterator[TraceEvent]:
    """The events of all by wall time; DataError for one that two of them hold."""
    numbered = (
        zip(repeat(number), trace.events(), strict=False) for number, trace in enumerate(traces)
    )
    met: dict[tuple[object, ...], int] = {}
    moment = math.nan
    for number, event in heapq.merge(*numbered, key=lambda pair: pair[1].wall_unix_s):
        if event.wall_unix_s != moment:  # doubles have one time: they come one after the other
            met.clear()
            moment = event.wall_unix_s
        key = (event.kind, event.device, event.trace_id, event.sample_id, event.monotonic_s)
        if (other := met.setdefault(key, number)) != number:
            raise DataError(
                f"{traces[number].folder} holds events of {traces[other].folder}: first the "
                f"{event.kind} at {event.wall_unix_s:.3f} s (event {event.sequence})",
                fix="Leave out the trace that the other was cut from, or cut what both hold.",
            )
        yield event


def _common(traces: Sequence[Trace]) -> Subject:
    first = traces[0].manifest.subject
    words = {"token_space": "token space", "pair": "pair", "base_model": "base model"}
    for trace in traces[1:]:
        other = trace.manifest.subject
        for key, word in words.items():
            if getattr(first, key) != getattr(other, key):
                raise DataError(
                    f"{trace.folder} is of {word} {getattr(other, key)!r}, {traces[0].folder} of "
                    f"{getattr(first, key)!r}: they cannot be merged"
                )
    subjects = [trace.manifest.subject for trace in traces]
    recorders = {subject.recorder for subject in subjects}
    sources = sorted({subject.source for subject in subjects} - {""})
    return replace(
        first,
        recorder=recorders.pop() if len(recorders) == 1 else "lab",
        source=", ".join(sources),
    )
