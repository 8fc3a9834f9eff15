"""What an owner may write as a budget: `2 MB/day`, `50 KB/hour`, `none`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

NONE = "none"

UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
"""Bytes of each unit, in lower case."""

PERIODS = {"hour": 3_600.0, "day": 86_400.0, "week": 7 * 86_400.0, "month": 30 * 86_400.0}
"""Seconds of each period."""

DAY_S = PERIODS["day"]
MIN_BYTES, MAX_BYTES = 1_000, 10**12
"""Of a period: what is less carries no sample, what is more is no budget."""

_FORM = re.compile(
    r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([a-z]{1,5})\s*(?:/|\s+per\s+|\s+a\s+)\s*([a-z]+)"
)
_NO_PERIOD = re.compile(r"[0-9.]+\s*[a-z]*")
_RIGHT = 'write an amount and a period, like "2 MB/day" or "50 KB/hour", or "none"'


@dataclass(frozen=True, kw_only=True, slots=True)
class ByteBudget:
    """At most `num_bytes` in any `period_s` seconds."""

    num_bytes: int
    period_s: float

    @property
    def day_bytes(self) -> int:
        """Of an average day."""
        return int(self.num_bytes * DAY_S / self.period_s)


def parse_budget(text: object) -> ByteBudget | None:
    """The budget that `text` means, None for `none`; ValueError says what is right."""
    if not isinstance(text, str):
        raise ValueError(f"{_RIGHT}: a number alone names neither unit nor period")
    plain = text.strip().lower()
    if plain == NONE:
        return None
    shown = repr(text if len(text) <= 40 else text[:40] + "...")
    found = _FORM.fullmatch(plain)
    if found is None:
        if _NO_PERIOD.fullmatch(plain):
            raise ValueError(f"{shown} names no period: {_RIGHT}")
        raise ValueError(f"{shown} is no budget: {_RIGHT}")
    amount, unit, period = found.groups()
    if unit not in UNITS:
        raise ValueError(f"{shown}: the unit is one of B, KB, MB, GB, KiB, MiB, GiB; {_RIGHT}")
    if period not in PERIODS:
        raise ValueError(f"{shown}: the period is one of {', '.join(PERIODS)}; {_RIGHT}")
    num_bytes = int(Fraction(amount) * UNITS[unit])
    if num_bytes < MIN_BYTES:
        raise ValueError(
            f"{shown} is less than {MIN_BYTES:,} bytes, which no sample fits: give more, or leave "
            "`cloud` empty, and nothing leaves"
        )
    if num_bytes > MAX_BYTES:
        raise ValueError(f'{shown} is more than 1,000 GB: "none" is no limit')
    return ByteBudget(num_bytes=num_bytes, period_s=PERIODS[period])
