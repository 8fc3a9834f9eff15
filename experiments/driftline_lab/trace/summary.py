"""What a trace holds, in numbers; read a row group at a time."""

from __future__ import annotations

from collections import Counter
from typing import Any

from driftline_shared.codec.tokens import decode_tokens
from driftline_shared.errors import DataError, SampleError
from driftline_shared.pair.pair import load_pair
from driftline_shared.tokens import TokenSpace
from driftline_shared.trace.checks import what_is_wrong
from driftline_shared.trace.event import TraceEvent
from driftline_shared.trace.journal import names_set_aside
from driftline_shared.trace.manifest import as_json
from driftline_shared.trace.reader import Trace
from driftline_shared.trace.tokens import all_tokens, coded_tokens

_COLUMNS = [
    *("sequence", "kind", "wall_unix_s", "device", "segment", "domain", "correct", "sent"),
    *("outcome", "verdict", "sample_bytes", "adapter_version"),
]
_COUNTED = ("kind", "device", "segment", "domain", "outcome", "verdict")


def summarize(trace: Trace) -> dict[str, Any]:
    """Counts, times and bytes of `trace`, with its manifest. DataError where it is broken."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in _COUNTED}
    scored: Counter[str] = Counter()
    right: Counter[str] = Counter()
    first = last = None
    num_sent = num_bytes = missing = 0
    expected, versions = None, set()
    for batch in trace.batches(_COLUMNS):
        for row in batch.to_pylist():
            for name in _COUNTED:
                if row[name] is not None:
                    counts[name][row[name]] += 1
            if row["correct"] is not None:
                scored[row["domain"] or ""] += 1
                right[row["domain"] or ""] += row["correct"]
            first = row["wall_unix_s"] if first is None else min(first, row["wall_unix_s"])
            last = row["wall_unix_s"] if last is None else max(last, row["wall_unix_s"])
            num_sent += bool(row["sent"])
            num_bytes += row["sample_bytes"] or 0
            if row["adapter_version"] is not None:
                versions.add(row["adapter_version"])
            missing += 0 if expected is None else row["sequence"] - expected
            expected = row["sequence"] + 1
    manifest = as_json(trace.manifest)
    parts = manifest.pop("parts")
    return {
        "folder": str(trace.folder),
        "manifest": manifest,
        "num_parts": len(parts),
        "num_events": trace.manifest.num_rows,
        "num_missing": missing,
        "part_bytes": sum(part["bytes"] for part in parts),
        "unfinished": trace.unfinished,
        "num_unfinished": trace.num_unfinished(),
        "first_unix_s": first,
        "last_unix_s": last,
        **{f"by_{name}": dict(sorted(counts[name].items())) for name in _COUNTED},
        "accuracy_by_domain": {
            domain: round(right[domain] / num, 6) for domain, num in sorted(scored.items())
        },
        "versions": sorted(versions),
        "num_sent": num_sent,
        "sample_bytes": num_bytes,
    }


def validate(trace: Trace, pair: str = "") -> dict[str, Any]:
    """Check every part, row and value; with `pair`, that all tokens decode, too.

    DataError names the first part and row that is wrong, or a journal that cannot be read. One that
    was cut at its end is no fault.
    """
    space = None if not pair else _space_of(trace, pair)
    trace.check_journal()
    for part in trace.manifest.parts:
        last, row = part.first_sequence - 1, -1
        for row, event in enumerate(trace.events_of(part)):
            wrong = what_is_wrong(event)
            if event.sequence <= last:
                wrong = f"its number does not follow {last}"
            if not wrong and space is not None:
                wrong = _tokens_wrong(event, space)
            if wrong:
                raise DataError(f"{part.name}, row {row} (event {event.sequence}): {wrong}")
            last = event.sequence
        if (row + 1, last) != (part.rows, part.last_sequence):
            raise DataError(
                f"{part.name}: {row + 1} rows to event {last}, the manifest says {part.rows} to "
                f"{part.last_sequence}"
            )
    named = {part.name for part in trace.manifest.parts}
    found = {path.name for path in (trace.folder / "events").glob("*.parquet")}
    return {
        "folder": str(trace.folder),
        "num_parts": len(named),
        "num_events": trace.manifest.num_rows,
        "unfinished": trace.unfinished,
        "num_unfinished": trace.num_unfinished(),
        "not_of_the_trace": sorted(found - named) + names_set_aside(trace.folder),
        "tokens_checked": space is not None,
    }


def _space_of(trace: Trace, pair: str) -> TokenSpace:
    space = load_pair(pair).token_space
    if space.digest != trace.manifest.subject.token_space:
        raise DataError(
            f"{trace.folder} is of token space {trace.manifest.subject.token_space[:12]}, pair "
            f"{pair} of {space.digest[:12]}"
        )
    return space


def _tokens_wrong(event: TraceEvent, space: TokenSpace) -> str:
    try:
        all_tokens(event, space)
        coded = coded_tokens(event)
        if coded is not None:
            decode_tokens(coded, space)
    except (DataError, SampleError) as error:
        return str(error)
    return ""
