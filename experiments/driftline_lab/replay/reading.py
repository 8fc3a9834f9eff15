"""From a trace's rows to what a replay needs of them, a row at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from driftline_lab.replay.records import Recorded
from driftline_shared.callbacks import ignore
from driftline_shared.errors import DataError
from driftline_shared.status import SampleVerdict
from driftline_shared.tokens import Sample, TokenSpace
from driftline_shared.trace.checks import what_is_wrong
from driftline_shared.trace.event import EventKind, TraceEvent
from driftline_shared.trace.tokens import all_tokens, coded_tokens
from driftline_shared.wire import EncodedSample

ID_BYTES = 16
MOST_GAP_S = 30 * 86_400.0
"""A clock that was set (from 1970, say) while a device recorded leaves a gap of years."""


_ANSWERED = ("kind", "sample_id")
_NOTHING: frozenset[bytes] = frozenset()


def answered_ids(read: Callable[[Sequence[str]], Iterable[Mapping[str, Any]]]) -> frozenset[bytes]:
    """The ids of samples that devices' answers tell of; empty for a trace without a cloud's rows.

    `read`: gives the rows of some columns, each time from the first. A merged trace holds a sample
    as its device's answer and as its cloud's row, in whichever order their clocks say, so this is
    known before the first row is replayed. 16 bytes an id (about 100 in memory) are all that is
    kept of a row, and nothing of a device's own trace, however long it is.
    """
    if not any(row["kind"] == EventKind.SAMPLE for row in read(("kind",))):
        return _NOTHING
    ids = (_id(row["sample_id"]) for row in read(_ANSWERED) if row["kind"] == EventKind.ANSWER)
    return frozenset(ids) - {b""}


def read_records(
    events: Iterable[TraceEvent],
    space: TokenSpace,
    *,
    with_tokens: bool,
    answered: Set[bytes] = _NOTHING,
    on_repeated: Callable[[], None] = ignore,
) -> Iterator[Recorded]:
    """The answers of a device's trace, the samples of a cloud's, in order; the rest is passed over.

    A cloud's sample that came before, or that is a device's answer too (`answered`), is replayed
    once; `on_repeated` is called for each such row.

    Times count from the first one; a clock that was set back while it was recorded stands still
    here. `with_tokens`: read all tokens, too. Raises DataError for a row that cannot be replayed
    and a gap of more than `MOST_GAP_S`.
    """
    start_s: float | None = None
    at_s = 0.0
    for event in events:
        if not _is_readable(event):
            continue
        if _is_repeated(event, answered):
            on_repeated()
            continue
        _check(event)
        if start_s is None:
            start_s = event.wall_unix_s
        next_s = max(at_s, event.wall_unix_s - start_s)
        if next_s - at_s > MOST_GAP_S:
            raise DataError(
                f"event {event.sequence} is {(next_s - at_s) / 86_400:.3g} days after the one "
                "before it, as if a clock had been set; a replay bridges up to 30: cut the trace "
                "in two there (`driftline lab trace cut --since` or `--until`)"
            )
        at_s = next_s
        yield _record(event, at_s, space, with_tokens=with_tokens)


def first_moment(events: Iterable[TraceEvent], answered: Set[bytes] = _NOTHING) -> float:
    """The wall time of the first row that is replayed; DataError without one."""
    for event in events:
        if _is_readable(event) and not _is_repeated(event, answered):
            _check(event)
            return event.wall_unix_s
    raise DataError(
        "the trace holds neither answers nor samples: there is nothing to replay",
        fix="Name another; `driftline lab trace info` shows what one holds.",
    )


def _check(event: TraceEvent) -> None:
    if wrong := what_is_wrong(event):
        raise DataError(
            f"event {event.sequence}: {wrong}",
            fix="`driftline lab trace validate` names the part and row; leave it out with `cut`.",
        )


def _is_readable(event: TraceEvent) -> bool:
    """Every answer, and every sample of which the cloud could read what it holds."""
    readable = event.question is not None and event.coded is not None
    return event.kind is EventKind.ANSWER or (event.kind is EventKind.SAMPLE and readable)


def _is_repeated(event: TraceEvent, answered: Set[bytes]) -> bool:
    """A sample that its device's answer stands for, or that the cloud had or asked for again."""
    return event.kind is EventKind.SAMPLE and (
        event.verdict in _AGAIN or _id(event.sample_id) in answered
    )


_AGAIN = (SampleVerdict.DUPLICATE, SampleVerdict.RETRY)


def _id(text: str | None) -> bytes:
    """The 16 bytes of an id in hex; none where it is no id."""
    try:
        id_ = bytes.fromhex(text or "")
    except ValueError:
        return b""
    return id_ if len(id_) == ID_BYTES else b""


def _record(event: TraceEvent, at_s: float, space: TokenSpace, *, with_tokens: bool) -> Recorded:
    if not event.device or event.question is None or event.answer is None:
        raise DataError(
            f"event {event.sequence} has no device, question or answer: it cannot be replayed"
        )
    return Recorded(
        at_s=at_s,
        device=event.device,
        question=event.question,
        answer=event.answer,
        scores=event.scores,
        version=event.adapter_version or 0,
        segment=event.segment or "",
        domain=event.domain or event.segment or "",
        reference=event.reference,
        uncertainty=event.uncertainty,
        sample=_sample(event),
        tokens=all_tokens(event, space) if with_tokens else None,
    )


def _sample(event: TraceEvent) -> EncodedSample | None:
    """The sample as it was sent, without parts of the image, which no trace holds."""
    tokens = coded_tokens(event)
    if tokens is None or event.sample_id is None or event.sent is False:
        return None
    return EncodedSample.of(
        Sample(
            id=bytes.fromhex(event.sample_id),
            question=event.question or "",
            answer=event.answer or "",
            tokens=tokens,
            scores=event.scores,
            priority=0.0 if event.p_value is None else 1.0 - event.p_value,
            created_unix_s=int(event.wall_unix_s),
            adapter_version=event.adapter_version or 0,
            audit=bool(event.audit),
        )
    )
