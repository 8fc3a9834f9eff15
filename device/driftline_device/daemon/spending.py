"""What crossed the network in the last day, by kind and hour; kept over restarts.

    bytes.json   {"hours": {"<hours since 1970>": {"up": N, "asked": N, "updates": N, "rest": N}}}

`up`: samples; `asked`: questions about updates and policies; `updates`: manifests and their chunks;
`rest`: acks and other replies. Bytes are those of the serialized messages, without what HTTP/2 and
TCP put around.
A clock that was set back counts on in the newest hour: nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from driftline_device.link.settings import LinkStats
from driftline_shared.host.durable import error_text, read_json, set_aside, write_json

FILE = "bytes.json"
KINDS = ("up", "asked", "updates", "rest")
HOUR_S = 3600.0
HOURS = 24
KEEP_S = 60.0
"""Seconds between two writes, to spare the flash: a kill forgets as much of the count."""

Hours = dict[int, dict[str, int]]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """Bytes of the last 24 hours, and of the hour that runs, by kind."""

    day: dict[str, int]
    hour: dict[str, int]


class Spending:
    """Counts what a link moves; for one thread."""

    def __init__(self, state: Path) -> None:
        self._file = state / FILE
        self._hours = _read_or_set_aside(self._file)
        self._counted = dict.fromkeys(KINDS, 0)
        self._kept_s = 0.0
        self._changed = False

    def count(self, stats: LinkStats, *, now_s: float) -> dict[str, int]:
        """Add what `stats`, sums since the link was made, has more than when last counted; what
        that is, by kind.
        """
        sums = {
            "up": stats.bytes_up,
            "asked": stats.bytes_asked,
            "updates": stats.update_bytes,
            "rest": stats.bytes_down - stats.update_bytes,
        }
        more = {kind: max(0, sums[kind] - self._counted[kind]) for kind in KINDS}
        self._counted = sums
        if any(more.values()):
            hour = max([int(now_s // HOUR_S), *self._hours])
            bucket = self._hours.setdefault(hour, dict.fromkeys(KINDS, 0))
            for kind in KINDS:
                bucket[kind] += more[kind]
            self._hours = {then: each for then, each in self._hours.items() if then > hour - HOURS}
            self._changed = True
        return more

    def day_bytes(self, kind: str) -> int:
        """Of one kind, in the hours that are kept."""
        return sum(each[kind] for each in self._hours.values())

    def keep(self, *, now_s: float, at_once: bool = False) -> None:
        """Write it down where it is time. Raises OSError."""
        if self._changed and (at_once or abs(now_s - self._kept_s) >= KEEP_S):
            rows = {str(hour): bucket for hour, bucket in self._hours.items()}
            write_json(self._file, {"hours": rows}, durable=False, sealed=True)
            self._kept_s, self._changed = now_s, False


def read_hours(state: Path) -> Hours:
    """As a daemon on `state` kept them; none where the file is missing, broken or unreadable."""
    try:
        return read_spending(state / FILE)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        _log.error("spending.left_out", file=FILE, error=str(error))
        return {}


def read_spending(path: Path) -> Hours:
    """What the file `path` holds; ValueError, TypeError, KeyError or AttributeError if broken."""
    return _checked(read_json(path) or {"hours": {}})


def _read_or_set_aside(path: Path) -> Hours:
    try:
        return read_spending(path)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        set_aside(path, f"holds no bytes by hour: {error}")
    except OSError as error:
        _log.error("spending.unreadable", path=str(path), error=error_text(error))
    return {}


def spent(hours: Hours, *, now_s: float) -> Spent:
    """Of the 24 hours up to now."""
    now = int(now_s // HOUR_S)
    recent = [each for then, each in hours.items() if then > now - HOURS]
    day = {kind: sum(each[kind] for each in recent) for kind in KINDS}
    return Spent(day=day, hour=dict(hours.get(now, dict.fromkeys(KINDS, 0))))


def _checked(found: Mapping[str, Any]) -> Hours:
    hours = {
        # A file of an earlier version does not tell questions apart.
        int(hour): {
            kind: int(bucket[kind] if kind != "asked" else bucket.get(kind, 0)) for kind in KINDS
        }
        for hour, bucket in found["hours"].items()
    }
    if len(hours) > HOURS or min((min(each.values()) for each in hours.values()), default=0) < 0:
        raise ValueError("more hours than a day has, or fewer bytes than none")
    return hours
