"""What long work calls on its way: one type for the tokens of an answer, one for progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence

OnToken = Callable[[int, str], None]
"""Called after each generated token: row of the call, its text so far.

A character of which only some bytes are there is left out, so each text begins with the one before.
What it raises ends the call.
"""

Progress = Callable[[float], None]
"""Called with the share of the work that is done, 0..1."""


def ignore(*_: object) -> None:
    """Stands for a callback where no one listens."""


_UNFINISHED = "\N{REPLACEMENT CHARACTER}"


def finished_text(decoded: str) -> str:
    """The text of some ids without unfinished characters at its end, as `OnToken` takes it."""
    return decoded.rstrip(_UNFINISHED)


def rows_from(first: int, on_token: OnToken | None) -> OnToken | None:
    """A callback for a block of rows that begins at row `first` of the whole call."""
    if on_token is None or first == 0:
        return on_token
    return lambda row, text: on_token(first + row, text)


def rows_among(rows: Sequence[int], on_token: OnToken | None) -> OnToken | None:
    """A callback for a block that holds these rows of the whole call."""
    if on_token is None:
        return None
    return lambda row, text: on_token(rows[row], text)


def part_of(progress: Progress, start: float, share: float) -> Progress:
    """Progress of a part that begins at `start` and is `share` of the whole."""
    return lambda done: progress(start + share * done)
