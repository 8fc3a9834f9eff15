"""What devices have sent today and what waits, for the time of one transaction.

It is read once for all batches of the transaction, changes with every sample that is taken, and is
written once at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from sqlalchemy import Connection

from driftline_cloud.intake import counts, tables
from driftline_cloud.intake.admission import Quota, Usage
from driftline_cloud.intake.writing.bulk import add_to_rows, select_rows

_NEAR = 4_096
"""So many samples before a line is full it is looked who shares it."""

_DAY = ("device_id", "day")
_USAGE = ("num_samples", "num_bytes")


class Standing:
    """The numbers of the devices that a transaction is about, and of their lines."""

    def __init__(self, connection: Connection, about: Collection[tuple[str, str, int]]) -> None:
        """`about`: lines, devices and days."""
        self._connection = connection
        days = sorted({(device_id, day) for _, device_id, day in about})
        self._days: dict[tuple[str, int], tuple[int, int]] = {
            (device_id, day): (num_samples, num_bytes)
            for device_id, day, num_samples, num_bytes in select_rows(
                connection, tables.usage, (*_DAY, *_USAGE), _DAY, days
            )
        }
        keys = {(line, one) for line, device_id, _ in about for one in (device_id, counts.ALL)}
        self._waiting = counts.waiting_of(connection, sorted(keys))
        self._used: Counter[tuple[str, int, str]] = Counter()
        self._new: dict[str, Counter[str]] = {}

    def usage(self, line: str, device_id: str, day: int, quota: Quota) -> Usage:
        """Of a device, as it is now."""
        num_samples, num_bytes = self._days.get((device_id, day), (0, 0))
        waiting = self._waiting[line, counts.ALL]
        others = 0
        if 0 < quota.waiting_samples <= waiting + _NEAR:
            others = len(counts.waiting_by_device(self._connection, line).keys() - {device_id})
        return Usage(
            day_samples=num_samples,
            day_bytes=num_bytes,
            waiting_samples=waiting,
            own_waiting_samples=self._waiting[line, device_id],
            num_others=others,
        )

    def take(self, line: str, device_id: str, day: int, sizes: Collection[int]) -> None:
        """So many samples more of a device, of so many bytes each."""
        num_samples, num_bytes = self._days.get((device_id, day), (0, 0))
        self._days[device_id, day] = (num_samples + len(sizes), num_bytes + sum(sizes))
        for one in (device_id, counts.ALL):
            self._waiting[line, one] += len(sizes)
        self._used[device_id, day, "num_samples"] += len(sizes)
        self._used[device_id, day, "num_bytes"] += sum(sizes)
        self._new.setdefault(line, Counter())[device_id] += len(sizes)

    def write(self) -> None:
        """Write what has changed."""
        days = {(device_id, day) for device_id, day, _ in self._used}
        rows = [(*key, *(self._used[*key, name] for name in _USAGE)) for key in days]
        add_to_rows(self._connection, tables.usage, _DAY, _USAGE, rows)
        for line, new in sorted(self._new.items()):
            counts.add(self._connection, line, new)
