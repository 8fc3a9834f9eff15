"""How an answer is dressed for its client: cut at a stop sequence, or put into JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

MOST_STOPS = 16
MOST_STOP_CHARS = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Dressed:
    """`text`: what is sent. `notes`: what `driftline` says of it beside the scores."""

    text: str
    notes: dict[str, Any] = field(default_factory=dict)


class Form(Protocol):
    """What `response_format` asks for."""

    def dress(self, answer: str) -> Dressed:
        """`answer` in this form; ApiError (422) if it cannot be put so."""


@dataclass(frozen=True, slots=True)
class Shape:
    """`stops`: where the text ends. `form` None: the text as it is."""

    stops: tuple[str, ...] = ()
    form: Form | None = None

    def growing(self, text: str) -> str:
        """What of an answer that still grows can be sent without ever being taken back."""
        if self.form is not None:
            return ""
        cut, stopped = _cut(text, self.stops)
        if stopped or not self.stops:
            return cut
        # The end of the text may be the beginning of a stop sequence.
        for size in range(min(max(map(len, self.stops)) - 1, len(cut)), 0, -1):
            if any(stop.startswith(cut[-size:]) for stop in self.stops):
                return cut[:-size]
        return cut

    def whole(self, text: str) -> tuple[Dressed, bool]:
        """The whole answer, and whether a stop sequence ended it; ApiError (422), see `Form`."""
        cut, stopped = _cut(text, self.stops)
        if self.form is None:
            return Dressed(text=cut), stopped
        return self.form.dress(cut), stopped


def _cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Up to the stop sequence that is whole first, as whoever reads along would cut it."""
    ends = [(at + len(stop), at) for stop in stops if (at := text.find(stop)) >= 0]
    return (text[: min(ends)[1]], True) if ends else (text, False)
