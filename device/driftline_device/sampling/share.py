"""The share limit: at most `max_sample_share` of what is seen leaves, and the most uncertain of it.

A stream gives no look ahead, so "the most uncertain" is judged against a window of recent scores: a
sample must reach the quantile of the window that spends the share, no more. The hard limit is a
credit that grows by the share with each sample seen and pays one for each sample sent; it starts
empty, so `sent <= share * seen` holds at every moment. A controller moves the bar with the credit:
what a quiet stretch left unspent makes the bar lower, a credit near its end makes it higher, so
that the hard limit seldom has to refuse a sample that clears the bar.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np

WINDOW = 256
"""Recent scores the bar is taken from."""

RESERVE = 4.0
"""Credit in samples that the controller aims to keep for the most uncertain to come."""


class ShareLimit:
    """Counts what was seen and sent, and says whether one more may go."""

    def __init__(self, share: float, *, window: int = WINDOW) -> None:
        """`share`: most samples sent per sample seen, 0..1. `window`: scores remembered."""
        self.share = share
        self.num_seen = 0
        self.num_sent = 0
        self._credit = 0.0
        # Unspent credit is bounded: a quiet month must not pay for a day of sending everything.
        self._burst = max(1.0, share * window) + RESERVE
        self._scores: deque[float] = deque(maxlen=window)

    @property
    def allows(self) -> bool:
        """Whether one more sample keeps sent <= share * seen."""
        return self._credit >= 1.0 and self.num_sent + 1 <= self.share * self.num_seen

    def see(self, score: float) -> bool:
        """Count one sample with its uncertainty; whether it is among those worth the share.

        Compares with the scores before it; equal scores count half, so that a run of ties passes
        as one block or not at all instead of by chance.
        """
        self.pass_over()
        above = self._rank(score)
        self._scores.append(score)
        return above <= self._top_share()

    def pass_over(self) -> None:
        """Count one sample seen that will not go; its score does not move the bar for others."""
        self.num_seen += 1
        self._credit = min(self._credit + self.share, self._burst)

    def spend(self) -> None:
        """Count one sample as sent; call only while `allows`."""
        if not self.allows:
            raise ValueError("the share limit allows no sample now")
        self.num_sent += 1
        self._credit -= 1.0

    def _top_share(self) -> float:
        """Share of the window that may pass: the limit, moved by unspent or missing credit."""
        if self.share >= 1.0:
            return 1.0
        maxlen = self._scores.maxlen or 1
        moved = self.share + (self._credit - RESERVE) / maxlen
        return float(np.clip(moved, 0.0, 1.0))

    def _rank(self, score: float) -> float:
        """Share of the window that is more uncertain than `score`, 0..1; 0 while it is empty."""
        if not self._scores:
            return 0.0
        scores = np.fromiter(self._scores, np.float64, len(self._scores))
        return float((scores > score).mean() + 0.5 * (scores == score).mean())

    def state(self) -> dict[str, object]:
        """Plain values from which `restore` continues."""
        return {
            "share": self.share,
            "num_seen": self.num_seen,
            "num_sent": self.num_sent,
            "credit": self._credit,
            "scores": list(self._scores),
        }

    def restore(
        self, *, num_seen: int, num_sent: int, credit: float, scores: Iterable[float]
    ) -> None:
        """Continue where `state` was taken under the same share."""
        self.num_seen = num_seen
        self.num_sent = num_sent
        self._credit = min(credit, self._burst)
        self._scores.clear()
        self._scores.extend(scores)

    def forget_scores(self) -> None:
        """Empty the window: the scores to come are of another kind."""
        self._scores.clear()
