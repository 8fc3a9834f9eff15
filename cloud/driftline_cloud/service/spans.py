"""A cloud's spans: a sample is taken in, a round goes through its states, its samples were used."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from driftline_cloud.rounds.round import Round, RoundState
from driftline_shared.host.clock import Clock
from driftline_shared.spans.context import (
    SpanContext,
    release_context,
    round_context,
    sample_context,
)
from driftline_shared.spans.spans import MOST_LINKS, Spans
from driftline_shared.status import SampleAck, SampleVerdict
from driftline_shared.wire import EncodedSample

_log = structlog.get_logger(__name__)

MOST_USED = 10_000
"""Samples of a round of each of which it is said that they were used."""


class IntakeSpans:
    """Of what comes on `line`; for any thread."""

    def __init__(self, spans: Spans, line: str, clock: Clock) -> None:
        self._spans = spans
        self._line = line
        self._clock = clock

    def sample(
        self, device_id: str, body: bytes, sample: EncodedSample | None, ack: SampleAck
    ) -> None:
        """A sample and the word it got; see `SampleWatch`. A batch is taken as a whole: what one
        sample cost is not known.
        """
        now_s = self._clock.now_s()
        kept = ack.verdict in (SampleVerdict.STORED, SampleVerdict.DUPLICATE)
        self._spans.add(
            "sample.intake",
            now_s,
            now_s,
            parent=sample_context(ack.id),
            error="" if kept else ack.reason or str(ack.verdict),
            sample=ack.id.hex(),
            device=device_id,
            line=self._line,
            verdict=str(ack.verdict),
            num_bytes=len(body),
        )


class RoundSpans:
    """Of rounds, for the thread that drives them. `claimed`: the samples of a round."""

    def __init__(
        self, spans: Spans, *, claimed: Callable[[str], Sequence[bytes]], clock: Clock
    ) -> None:
        self._spans = spans
        self._claimed = claimed
        self._clock = clock
        self._began: tuple[Round, float] | None = None

    def step(self, event: str, round_: Round) -> None:
        """See `Watch` of the coordinator."""
        now_s = self._clock.now_s()
        if event == "started":
            self._cut_off(now_s)
            self._began = round_, now_s
        elif event == "worked" and self._began is not None:
            self._state(*self._began, now_s)
            self._began = None
        elif event == "changed" and not round_.is_open:
            self._cut_off(now_s)
            self._ended(round_, now_s)

    def _cut_off(self, now_s: float) -> None:
        """Of work that was begun and did not end well."""
        if self._began is not None:
            self._state(*self._began, now_s, error="it failed, or waits for what is away")
            self._began = None

    def _state(self, round_: Round, began_s: float, now_s: float, error: str = "") -> None:
        releases = round_.state is RoundState.RELEASING and not error
        own = release_context(round_.line, round_.target_version) if releases else None
        self._spans.add(
            f"round.{round_.state}",
            began_s,
            now_s,
            own=own,
            parent=_context(round_),
            error=error,
            line=round_.line,
            round=round_.id,
            version=round_.target_version,
        )

    def _ended(self, round_: Round, now_s: float) -> None:
        try:
            ids = self._claimed(round_.id)[:MOST_USED]
        except Exception as error:
            # A database that is away costs links, not the round.
            _log.warning("span.without_links", round=round_.id, cause=str(error))
            ids = []
        own = _context(round_)
        self._spans.add(
            "round",
            float(round_.created_unix_s),
            now_s,
            own=own,
            links=[sample_context(one) for one in ids[:MOST_LINKS]],
            error=round_.reason if round_.state is RoundState.FAILED else "",
            line=round_.line,
            round=round_.id,
            version=round_.target_version,
            state=str(round_.state),
            num_samples=round_.num_samples,
        )
        # The way from a sample to its version: most viewers follow links in one direction alone.
        for one in ids:
            self._spans.add(
                "sample.used",
                now_s,
                now_s,
                parent=sample_context(one),
                links=[own],
                sample=one.hex(),
                round=round_.id,
                version=round_.target_version,
                state=str(round_.state),
            )


def _context(round_: Round) -> SpanContext:
    return round_context(round_.line, round_.target_version, round_.id)
