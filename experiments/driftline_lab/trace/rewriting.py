"""A new trace made of the events of others: cut, merged, made anonymous."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from driftline_lab.trace.whole import whole_folder
from driftline_shared.trace.event import TraceEvent
from driftline_shared.trace.manifest import Manifest, Subject
from driftline_shared.trace.writer import PartLimits, open_writer

BATCH_ROWS = 256


def write_events(
    folder: Path,
    events: Iterable[TraceEvent],
    *,
    like: Manifest,
    derived: str,
    subject: Subject | None = None,
    renumber: bool = False,
) -> Manifest:
    """Write `events` as a new trace in `folder`; its manifest.

    Seed, licence and, if none is given, subject are those of `like`; `derived`: what was done.
    It appears whole or not at all. ConfigError if the folder holds anything.
    """
    with (
        whole_folder(folder) as draft,
        open_writer(
            draft,
            subject or like.subject,
            seed=like.seed,
            licence=like.licence,
            derived=(*like.derived, derived),
            limits=PartLimits(seconds=float("inf")),
        ) as writer,
    ):
        for batch in _batches(events):
            write = writer.write_next if renumber else writer.write
            write(batch)
    return writer.manifest


def without_tokens(event: TraceEvent, *, all_only: bool) -> TraceEvent:
    """The event without all tokens, or without any."""
    event = replace(event, all_codec=None, all_kept=None, all_tokens=None)
    return event if all_only else replace(event, kept=None, token_codec=None, coded=None)


def _batches(events: Iterable[TraceEvent]) -> Iterator[list[TraceEvent]]:
    rest = iter(events)
    while batch := list(islice(rest, BATCH_ROWS)):
        yield batch
