"""The rounds of a replay: the real coordinator, stepped when its trigger could have fired, each
state ended when the work of it would have.

The product looks at its trigger every `rounds.poll_s`. Here it is looked at on that same grid, but
only after samples came, while a round is open, and now and then for triggers that time alone fires.
The work of a state is done at the virtual moment at which it would be finished, so that what it
stores is seen no earlier than it would be.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from driftline_cloud.config import CloudConfig
from driftline_cloud.rounds.round import RoundState
from driftline_lab.replay.clock import VirtualClock
from driftline_lab.replay.cloud.side import CloudSide, StepDone
from driftline_lab.replay.settings import ComputeTimes

IDLE_LOOK_S = 30.0
"""How often the trigger is looked at when no sample has come: for age and rest after a round."""

RANK = 2
"""At one moment samples arrive first, then the cloud looks at them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A round as it was opened. `at`: answers given by then; `trigger`: why it was."""

    number: int
    at: int
    trigger: str


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
        self._only_idle = True
        self._open = False
        self.changed_s = 0.0
        """When a round last did something."""
        self.opened: dict[int, Opened] = {}

    @property
    def is_quiet(self) -> bool:
        """Whether no round is open and nothing has come that could open one."""
        return not self._open and not self._is_due

    @property
    def _is_due(self) -> bool:
        return self._next_s < math.inf and not self._only_idle

    def start(self) -> None:
        """Begin to look now and then."""
        self._look_at(self._clock.monotonic_s() + IDLE_LOOK_S, idle=True)

    def samples_came(self) -> None:
        """Samples were stored: the trigger is looked at when the product would."""
        if not self._open and not self._is_due:
            self._look_at(self._grid_s(), idle=False)

    def _grid_s(self) -> float:
        """The next moment at which the product looks at its trigger."""
        poll_s = self._config.rounds.poll_s
        return (math.floor(self._clock.monotonic_s() / poll_s) + 1) * poll_s

    def _look_at(self, at_s: float, *, idle: bool) -> None:
        self._next_s, self._only_idle = at_s, idle
        self._clock.at(at_s, lambda: self._look(at_s), rank=RANK)

    def _look(self, at_s: float) -> None:
        if at_s != self._next_s:
            return  # another look has been put in its place
        self._next_s = math.inf
        done = self._cloud.step()
        self._open = bool(done.state)
        now_s = self._clock.monotonic_s()
        if done.busy:
            self.changed_s = now_s
        if done.state:
            if done.number not in self.opened:
                self.opened[done.number] = Opened(
                    number=done.number, at=self._num_answers(), trigger=done.reason
                )
            rest_s = max(0.0, done.not_before_unix_s - self._clock.now_s())
            self._look_at(now_s + rest_s + self._work_s(done), idle=False)
        elif done.busy:
            # A round ended: what waits may be enough for the next.
            self._look_at(self._grid_s(), idle=False)
        else:
            self._look_at(now_s + IDLE_LOOK_S, idle=True)

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
