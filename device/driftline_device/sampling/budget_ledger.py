"""The hard bound of the owner's budget: what left in any stretch of its period, written down before
it leaves.

    allowance.json   {"age_s", "hours": {"<24ths of the period>": bytes}, "lent", "wall_s",
                      "monotonic_s", "boot", "num_bytes", "period_s"}

A kill forgets nothing: bytes are lent in advance, a 64th of the budget at once, in a file that is
synced before the first of them leaves; what was lent and not used counts as spent after a kill.
Where it cannot be written, nothing leaves.

Time passes by the monotonic clock, so that a wall clock set forward opens no budget anew. Over a
restart it is still the same clock; over a reboot there is only the wall clock, set back at most.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from driftline_device.sampling.budget import DAY_HOURS, DayBytes
from driftline_device.sampling.budget_plan import ASKING
from driftline_device.sampling.budget_text import ByteBudget
from driftline_shared.host.clock import Clock
from driftline_shared.host.durable import error_text, read_json, set_aside, write_json

FILE = "allowance.json"
LENT_SHARE = 1 / 64
"""Of the budget, written down at once: the flash is spared, and a kill costs as much at most."""

KEEP_S = 60.0
"""Seconds between two writes of how time passed."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_log = structlog.get_logger(__name__)


class Ledger:
    """What may still leave; for any thread.

    Samples leave a sixteenth of the budget to questions to the cloud, so that a device which has
    spent its budget still takes updates. `note` counts what cannot be refused: what came down.
    """

    def __init__(
        self, budget: ByteBudget, state: Path, clock: Clock, *, boot: str | None = None
    ) -> None:
        """`boot`: names this run of the machine; read from the system where it is None."""
        self.budget = budget
        self._path = state / FILE
        self._clock = clock
        self._boot = boot_id() if boot is None else boot
        self._lock = threading.Lock()
        self._window = DayBytes(budget.num_bytes, hour_s=budget.period_s / DAY_HOURS)
        self._age_s = 0.0
        self._seen_s = clock.monotonic_s()
        self._lent = 0
        self._kept_s = self._seen_s
        self._fails = False
        self._load()

    def take(self, num_bytes: int, *, asking: bool = False) -> bool:
        """Count `num_bytes` as sent, which they may be then; False, and nothing counted, where the
        budget has no room for them or the disk does not take the count. `asking`: a question to the
        cloud, no sample.
        """
        with self._lock:
            left = self._left(asking=asking)
            if num_bytes > left:
                return False
            if num_bytes > self._lent and not self._lend(num_bytes, left):
                return False
            self._lent -= num_bytes
            self._window.spend(self._age_s, num_bytes)
            return True

    def give_back(self, num_bytes: int) -> None:
        """What was taken just now did not leave."""
        with self._lock:
            self._pass_time()
            self._window.spend(self._age_s, -num_bytes)
            self._lent += num_bytes

    def note(self, num_bytes: int) -> None:
        """Count what crossed the network without being asked for here."""
        if num_bytes <= 0:
            return
        with self._lock:
            self._pass_time()
            self._window.spend(self._age_s, num_bytes)

    def left(self, *, asking: bool = False) -> int:
        """Bytes that may leave now."""
        with self._lock:
            return self._left(asking=asking)

    @property
    def most(self) -> int:
        """Bytes that samples may ever have at once."""
        return self.budget.num_bytes - int(ASKING * self.budget.num_bytes)

    @property
    def age_s(self) -> float:
        """Seconds since the count was begun."""
        with self._lock:
            self._pass_time()
            return self._age_s

    @property
    def spent(self) -> int:
        """Bytes counted in the period up to now."""
        with self._lock:
            self._pass_time()
            self._window.left(self._age_s)
            return sum(self._window.hours.values())

    def keep(self, *, at_once: bool = False) -> None:
        """Write down how time passed, now and then; `at_once`, at the end: what was lent comes
        back. Raises OSError.
        """
        with self._lock:
            self._pass_time()
            if not at_once and self._seen_s - self._kept_s < KEEP_S:
                return
            lent = 0 if at_once else self._lent
            self._write(lent)
            self._lent = lent

    # -- the caller locks -------------------------------------------------------------------------

    def _left(self, *, asking: bool) -> int:
        self._pass_time()
        left = self._window.left(self._age_s) or 0
        return left if asking else max(0, left - (self.budget.num_bytes - self.most))

    def _pass_time(self) -> None:
        now_s = self._clock.monotonic_s()
        self._age_s += max(0.0, now_s - self._seen_s)
        self._seen_s = now_s

    def _lend(self, num_bytes: int, left: int) -> bool:
        lent = min(left, max(num_bytes, int(LENT_SHARE * self.budget.num_bytes)))
        try:
            self._write(lent)
        except OSError as error:
            if not self._fails:
                self._fails = True
                _log.error(
                    "budget.not_written",
                    path=str(self._path),
                    error=error_text(error),
                    fix="No sample leaves until it can be: a restart would forget what was spent. "
                    "Make room, or let the device's user write there.",
                )
            return False
        if self._fails:
            self._fails = False
            _log.info("budget.written_again", path=str(self._path))
        self._lent = lent
        return True

    def _write(self, lent: int) -> None:
        kept = {
            "age_s": self._age_s,
            "hours": {str(hour): num for hour, num in self._window.hours.items()},
            "lent": lent,
            "wall_s": self._clock.now_s(),
            "monotonic_s": self._seen_s,
            "boot": self._boot,
            "num_bytes": self.budget.num_bytes,
            "period_s": self.budget.period_s,
        }
        write_json(self._path, kept, sealed=True)
        self._kept_s = self._seen_s

    def _load(self) -> None:
        try:
            found = read_json(self._path)
            if found is not None:
                self._restore(found)
        except OSError as error:
            self._count_as_spent()
            _log.error(
                "budget.unreadable",
                path=str(self._path),
                error=error_text(error),
                fix="The budget counts as spent for one period: let the device's user read it.",
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            self._count_as_spent()
            set_aside(
                self._path, f"holds no count of bytes, so the budget counts as spent: {error}"
            )

    def _count_as_spent(self) -> None:
        self._window.hours = {int(self._age_s // self._window.hour_s): self.budget.num_bytes}

    def _restore(self, found: Mapping[str, Any]) -> None:
        wall_s, monotonic_s = float(found["wall_s"]), float(found["monotonic_s"])
        age_s, period_s = float(found["age_s"]), float(found["period_s"])
        lent = int(found["lent"])
        hours = {int(hour): int(num) for hour, num in found["hours"].items()}
        if min([lent, age_s, period_s, *hours.values()]) < 0 or len(hours) > DAY_HOURS + 1:
            raise ValueError("numbers that no count has")
        passed_s = self._clock.now_s() - wall_s
        if found["boot"] == self._boot:
            passed_s = self._clock.monotonic_s() - monotonic_s
        self._age_s = age_s + max(0.0, passed_s)
        spent_now = lent  # when it left is not known: at the very end, at worst
        if period_s != self.budget.period_s:  # other hours: all of them count as the newest
            spent_now += sum(hours.values())
            hours = {}
        self._window.hours = hours
        self._window.spend(self._age_s, spent_now)


def boot_id() -> str:
    """Names this run of the machine; empty where the system does not say."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
