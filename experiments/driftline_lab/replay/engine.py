"""The replay itself: recorded answers, one after another, at the moments at which they were given;
devices, links and cloud follow on the same clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from driftline_lab.replay.clock import VirtualClock
from driftline_lab.replay.device.device import Given, ReplayDevice
from driftline_lab.replay.records import Recorded
from driftline_lab.replay.rounds import RoundDriver
from driftline_shared.callbacks import ignore

OnAnswer = Callable[[Recorded, Given], None]
"""Called with every answer of the replay, in order."""


class Replay:
    """Plays `records` on `clock`. `make_device`: the device of an id, when it is first seen."""

    def __init__(
        self,
        records: Iterator[Recorded],
        clock: VirtualClock,
        rounds: RoundDriver,
        make_device: Callable[[str], ReplayDevice],
        *,
        on_answer: OnAnswer = ignore,
    ) -> None:
        self._records = records
        self._clock = clock
        self._rounds = rounds
        self._make_device = make_device
        self._on_answer = on_answer
        self._over = False
        self.devices: dict[str, ReplayDevice] = {}

    def run(self, *, settle_s: float) -> bool:
        """Play all of them, then let what is under way end, at most `settle_s` virtual seconds;
        whether it did.
        """
        self._rounds.start()
        self._feed()
        self._clock.run_while(lambda: not self._over, end_s=math.inf)
        end_s = self._clock.monotonic_s() + settle_s
        return self._clock.run_while(lambda: not self._is_settled, end_s=end_s)

    def close(self) -> None:
        """Let the devices' files go."""
        for device in self.devices.values():
            device.close()

    @property
    def _is_settled(self) -> bool:
        """Everything sent, no round open, and every device has asked since the last release."""
        return self._rounds.is_quiet and all(
            device.is_idle and device.fruitless_s >= self._rounds.changed_s
            for device in self.devices.values()
        )

    def _feed(self) -> None:
        """Put the next record in its place; one at a time, so that a trace need not fit memory."""
        record = next(self._records, None)
        if record is None:
            self._over = True
            return
        self._clock.at(record.at_s, lambda: self._take(record))

    def _take(self, record: Recorded) -> None:
        device = self.devices.get(record.device)
        if device is None:
            device = self.devices[record.device] = self._make_device(record.device)
        self._on_answer(record, device.take(record))
        self._feed()
