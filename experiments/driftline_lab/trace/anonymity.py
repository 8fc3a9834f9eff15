"""A trace that can be given away: no names, no texts as they were, no times of day.

Names are replaced by salted hashes, equal names by equal ones, so that counting still works. Ids of
samples hold the time they were made, and are replaced, too. Pictures and details go. What stays:
scores, verdicts, tokens unless they are dropped (a tower's tokens can be turned back into something
like the picture), and the names of segments and domains.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from driftline_lab.trace.rewriting import without_tokens, write_events
from driftline_shared.errors import ConfigError
from driftline_shared.trace.event import EventKind, TraceEvent
from driftline_shared.trace.manifest import Manifest, Subject
from driftline_shared.trace.reader import open_trace

Texts = Literal["hash", "drop", "keep"]

START_UNIX_S = 946_684_800.0
"""Where the wall time of a shifted trace begins: 2000-01-01."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Anonymizer:
    """`salt`: who does not know it cannot try names. `texts`: of questions, answers, references."""

    salt: bytes
    texts: Texts = "hash"
    shift_times: bool = True
    drop_tokens: bool = False

    def subject(self, subject: Subject) -> Subject:
        """The subject without the name of its source."""
        return replace(subject, source=self._name("source", subject.source) or "")

    def event(
        self, event: TraceEvent, *, start_unix_s: float, start_monotonic_s: float
    ) -> TraceEvent:
        """The event made anonymous; `start_*`: the times of the first one."""
        if self.drop_tokens:
            event = without_tokens(event, all_only=False)
        if self.shift_times:
            event = replace(
                event,
                wall_unix_s=event.wall_unix_s - start_unix_s + START_UNIX_S,
                monotonic_s=event.monotonic_s - start_monotonic_s,
            )
        return replace(
            event,
            device=self._name("device", event.device),
            sample_id=self._id(event.sample_id),
            trace_id=self._id(event.trace_id),
            question=self._text(event.question),
            answer=self._text(event.answer),
            reference=self._text(event.reference),
            detail=event.detail if event.kind is EventKind.ROUND else None,
            picture=None,
        )

    def _digest(self, kind: str, text: str) -> str:
        return hmac.new(self.salt, f"{kind}\0{text}".encode(), "sha256").hexdigest()

    def _name(self, kind: str, name: str | None) -> str | None:
        return f"{kind}-{self._digest(kind, name)[:12]}" if name else name

    def _id(self, name: str | None) -> str | None:
        return None if name is None else self._digest("id", name)[:32]

    def _text(self, text: str | None) -> str | None:
        if text is None or self.texts == "keep":
            return text
        # An answer must stay one.
        return "" if self.texts == "drop" else self._name("text", text)


def texts_named(name: str) -> Texts:
    """What becomes of texts, by its name; ConfigError for another."""
    for known in get_args(Texts):
        if name == known:
            return name  # type: ignore[return-value]
    raise ConfigError(f"--texts {name!r}: choose one of {', '.join(get_args(Texts))}")


def anonymize_trace(folder: Path, out: Path, anonymizer: Anonymizer) -> Manifest:
    """Write an anonymous copy of the trace in `folder`."""
    trace = open_trace(folder)
    first = next(trace.events(), None)

    def made() -> Iterator[TraceEvent]:
        for event in trace.events():
            assert first is not None
            yield anonymizer.event(
                event, start_unix_s=first.wall_unix_s, start_monotonic_s=first.monotonic_s
            )

    subject = anonymizer.subject(trace.manifest.subject)
    return write_events(out, made(), like=trace.manifest, subject=subject, derived="anonymize")
