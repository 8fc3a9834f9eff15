"""Rounds that have ended, seen by who does not drive them."""

from __future__ import annotations

from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.rounds.round import Round

_MOST = 50


class RoundsEnded:
    """Gives each round of a line once, when it has ended; those of before the first look, never."""

    def __init__(self, ledger: RoundLedger, line: str) -> None:
        self._ledger = ledger
        self._line = line
        self._seen: int | None = None

    def look(self) -> list[Round]:
        """The rounds that ended since the last look, in turn."""
        newest = self._ledger.newest(self._line, limit=1 if self._seen is None else _MOST)
        ended = [each for each in reversed(newest) if not each.is_open]
        last = ended[-1].number if ended else 0
        if self._seen is None:
            # A round that is open at the first look has all before it behind it.
            self._seen = max(last, newest[0].number - 1) if newest else 0
            return []
        fresh = [each for each in ended if each.number > self._seen]
        self._seen = max(self._seen, last)
        return fresh
