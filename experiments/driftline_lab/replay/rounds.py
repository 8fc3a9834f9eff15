"""The rounds of a replay: the real coordinator, stepped when its trigger could have fired, each
state ended when the work of it would have.

The product looks at its trigger every `rounds.poll_s`. A replay looks on that same grid, and leaves
out the looks of which the counts alone say that nothing can come (`may_fire`). The work of a state
is done at the virtual moment at which it would be finished, so that what it stores is seen no
earlier than it would be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from driftline_cloud.config import CloudConfig
from driftline_cloud.rounds.round import RoundState
from driftline_cloud.rounds.trigger import TriggerPolicy
from driftline_lab.replay.clock import VirtualClock
from driftline_lab.replay.cloud.side import CloudSide, StepDone
from driftline_lab.replay.settings import ComputeTimes

IDLE_LOOK_S = 30.0
"""How often the trigger is looked at beside that: for the rest after a round that failed."""

RANK = 2
"""At one moment samples arrive first, then the cloud looks at them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A round as it was opened. `at`: answers given by then; `trigger`: why it was."""

    number: int
    at: int
    trigger: str


def may_fire(policy: TriggerPolicy, num_waiting: int, oldest_age_s: float) -> bool:
    """Whether any trigger could fire: True wherever `why_start` might, whatever the scores are.

    `num_waiting`, `oldest_age_s`: at least what they are.
    """
    by_drift = policy.drift_share > 0 and num_waiting >= policy.drift_min_samples
    by_age = (
        policy.max_age_s > 0
        and num_waiting >= policy.age_min_samples
        and oldest_age_s >= policy.max_age_s
    )
    return num_waiting >= policy.round_samples or by_drift or by_age


class RoundDriver:
    """Steps the rounds of `cloud` on `clock`. `num_answers`: how many there were, now."""

    def __init__(
        self,
        clock: VirtualClock,
        cloud: CloudSide,
        config: CloudConfig,
        times: ComputeTimes,
        *,
        num_answers: Callable[[], int],
    ) -> None:
        self._clock = clock
        self._cloud = cloud
        self._config = config
        self._times = times
        self._num_answers = num_answers
        self._next_s = math.inf
        self._idle = True
        self._open = False
        # At least so many wait, and the oldest of them came no earlier than this.
        self._num_waiting = 0
        self._since_s = math.inf
        self.changed_s = 0.0
        """When a round last did something."""
        self.opened: dict[int, Opened] = {}

    @property
    def is_quiet(self) -> bool:
        """Whether no round is open and nothing has come that could open one."""
        return not self._open and (self._idle or self._next_s == math.inf)

    def start(self) -> None:
        """Begin to look now and then."""
        self._look_later()

    def samples_came(self, count: int) -> None:
        """`count` samples were stored: the trigger is looked at when the product would."""
        self._num_waiting += count
        self._since_s = min(self._since_s, self._clock.monotonic_s())
        if self.is_quiet and self._may_fire(self._grid_s()):
            self._look_at(self._grid_s(), idle=False)

    def _may_fire(self, at_s: float) -> bool:
        # Stamps in the store are whole seconds: a sample may count as a second older.
        age_s = at_s - self._since_s + 1.0
        return may_fire(self._config.rounds.trigger, self._num_waiting, age_s)

    def _grid_s(self) -> float:
        """The next moment at which the product looks at its trigger."""
        poll_s = self._config.rounds.poll_s
        return (math.floor(self._clock.monotonic_s() / poll_s) + 1) * poll_s

    def _look_at(self, at_s: float, *, idle: bool) -> None:
        self._next_s, self._idle = at_s, idle
        self._clock.at(at_s, lambda: self._look(at_s), rank=RANK)

    def _look_later(self) -> None:
        self._look_at(self._clock.monotonic_s() + IDLE_LOOK_S, idle=True)

    def _look(self, at_s: float) -> None:
        if at_s != self._next_s:
            return  # another look has been put in its place
        if self._idle and not self._may_fire(at_s):
            self._look_later()
            return
        self._next_s = math.inf
        done = self._cloud.step()
        now_s = self._clock.monotonic_s()
        if done.busy:
            self.changed_s = now_s
        self._open = bool(done.state)
        if done.state:
            self._note_open(done)
            rest_s = max(0.0, done.not_before_unix_s - self._clock.now_s())
            self._look_at(now_s + rest_s + self._work_s(done), idle=False)
        elif done.busy:
            # A round ended: what waits may be enough for the next, and a failed one gave back.
            self._num_waiting, self._since_s = _UNKNOWN, -math.inf
            self._look_at(self._grid_s(), idle=False)
        else:
            self._num_waiting = done.num_waiting
            oldest_s = math.inf if done.oldest_unix_s is None else float(done.oldest_unix_s)
            self._since_s = oldest_s - self._clock.start_unix_s
            self._look_later()

    def _note_open(self, done: StepDone) -> None:
        if done.number not in self.opened:
            self.opened[done.number] = Opened(
                number=done.number, at=self._num_answers(), trigger=done.reason
            )

    def _work_s(self, done: StepDone) -> float:
        """How long the work of the state that the round is in takes."""
        times, num = self._times, done.num_samples
        rounds, distil = self._config.rounds, self._config.distil
        num_trained = num - round(rounds.holdout_share * num)
        durations = {
            RoundState.SNAPSHOT: 0.0,
            RoundState.LABELLING: times.label_s * num,
            RoundState.DISTILLING: times.step_s * distil.num_steps(num_trained),
            RoundState.GATING: times.gate_s,
            RoundState.COMPRESSING: times.compress_s,
            RoundState.RELEASING: times.release_s,
        }
        return durations[RoundState(done.state)]


_UNKNOWN = 1 << 60
"""So many samples may wait."""
