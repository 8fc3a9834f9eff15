"""The watch after a swap: the next answers decide whether the new version stays.

Two ways to fail: an answer raised an error or a score that is not finite (`max_errors` of them),
or the new version is far less sure than the old one. Uncertainty also rises when the world changes
just then, so a rise alone is only a suspicion; it is confirmed by asking the *earlier* version the
very same questions. The new one is left only if it is far less sure than the old one on those:

    mean(u_new) > ratio * mean(u_old) + slack          u: entropy of the answer, 0..1
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from enum import StrEnum

from driftline_device.runtime.runtime import Answer, Question
from driftline_device.updates.probe import has_finite_scores
from driftline_shared.program.section import Section, setting


class WatchLimits(Section):
    """How long and how strictly a new version is watched."""

    num_answers: int = setting(32, "answers before a new version is trusted", ge=0)
    max_errors: int = setting(2, "errors that end it", ge=0)
    ratio: float = setting(
        2.0, "a new version may be this times as uncertain as the one before", ge=0
    )
    slack: float = setting(0.1, "plus this", ge=0)
    num_baseline: int = setting(128, "answers before the swap to compare with", ge=0)
    num_confirm: int = setting(
        8, "questions the version before is asked to confirm a suspicion", ge=0
    )


class Watching(StrEnum):
    """What the watch says after an answer."""

    OFF = "off"
    ON = "on"
    TRUSTED = "trusted"
    SUSPECT = "suspect"
    ERRORS = "errors"


def uncertainty(answer: Answer) -> float:
    """The score that is watched: entropy, else the mean of what there is; NaN if there is none."""
    if "entropy" in answer.scores:
        return answer.scores["entropy"]
    return statistics.fmean(answer.scores.values()) if answer.scores else math.nan


def is_less_sure(new: Sequence[float], old: Sequence[float], limits: WatchLimits) -> bool:
    """Whether `new` uncertainties are far above `old` ones."""
    if not new or not old:
        return False
    return statistics.fmean(new) > limits.ratio * statistics.fmean(old) + limits.slack


class Watch:
    """Follows answers; one thread feeds it. Off until `start`."""

    def __init__(self, limits: WatchLimits) -> None:
        self._limits = limits
        self._baseline: deque[float] = deque(maxlen=limits.num_baseline)
        self._before: tuple[float, ...] = ()
        self._since: list[float] = []
        self._kept: deque[tuple[Question, float]] = deque(maxlen=limits.num_confirm)
        self._num_errors = 0
        self._version: int | None = None

    def start(self, version: int, *, num_errors: int = 0) -> None:
        """`version` was just swapped in: what was seen until now is the baseline. `num_errors`:
        what it raised before somebody watched.
        """
        self._before = tuple(self._baseline)
        self._since = []
        self._kept.clear()
        self._num_errors = num_errors
        self._version = version

    def take_limits(self, limits: WatchLimits) -> None:
        """New limits, for what was seen until now as well."""
        self._limits = limits
        self._baseline = deque(self._baseline, maxlen=limits.num_baseline)
        self._kept = deque(self._kept, maxlen=limits.num_confirm)

    def pause(self) -> None:
        """A verdict was given: no other is wanted, what was kept stays."""
        self._version = None

    def stop(self) -> None:
        """The version is left: forget what was kept."""
        self._version = None
        self._kept.clear()

    def failed(self) -> Watching:
        """The model raised an error instead of an answer."""
        if self._version is None:
            return Watching.OFF
        self._num_errors += 1
        return Watching.ERRORS if self._num_errors >= self._limits.max_errors else Watching.ON

    def answered(self, question: Question, answer: Answer) -> Watching:
        """One more answer; TRUSTED, SUSPECT and ERRORS end the watch's own part."""
        score = uncertainty(answer)
        if math.isfinite(score):
            self._baseline.append(score)
        if self._version is None or answer.version != self._version:
            return Watching.OFF
        if not has_finite_scores(answer):
            return self.failed()
        if math.isfinite(score):
            self._kept.append((question, score))
        self._since.append(score)
        if len(self._since) < self._limits.num_answers:
            return Watching.ON
        finite = [each for each in self._since if math.isfinite(each)]
        return (
            Watching.SUSPECT
            if is_less_sure(finite, self._before, self._limits)
            else Watching.TRUSTED
        )

    def kept(self) -> list[tuple[Question, float]]:
        """The newest questions with the new version's uncertainty, to ask the earlier one."""
        return list(self._kept)
