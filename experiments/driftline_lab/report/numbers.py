"""Numbers as people read them."""

from __future__ import annotations

import math

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def percent(share: float | None, digits: int = 0) -> str:
    """0.714 as `71 %`; a dash where there is none."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def count(number: int, what: str) -> str:
    """`1 round`, `2 rounds`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def size(num_bytes: float) -> str:
    """Bytes in units of 1,000."""
    for unit, name in _UNITS:
        if num_bytes >= unit:
            scaled = num_bytes / unit
            return f"{scaled:.1f} {name}" if scaled < 100 else f"{scaled:.0f} {name}"
    return f"{num_bytes:.0f} B"


def plain(value: float) -> str:
    """Up to four digits that count, thousands set apart."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers in [low, high], at most about `most`."""
    span = high - low
    if span <= 0:
        return [low]
    raw = span / max(1, most)
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(base * factor for factor in (1, 2, 2.5, 5, 10) if base * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [(first + place) * step for place in range(count)]
