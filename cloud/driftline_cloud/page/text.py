"""Numbers and times as people read them."""

from __future__ import annotations

from driftline_shared.plain_text import moment

_DAY_S = 86_400


def when(unix_s: float) -> str:
    """A moment in UTC; a dash for none, the number for what is no moment."""
    return moment(unix_s) if unix_s > 0 else "–"


def lasted(seconds: float) -> str:
    """A duration by its two largest units."""
    whole = max(0, int(seconds))
    parts = (
        (whole // _DAY_S, "d"),
        (whole % _DAY_S // 3_600, "h"),
        (whole % 3_600 // 60, "min"),
        (whole % 60, "s"),
    )
    first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"


def ago(unix_s: float, now_s: float) -> str:
    """How long ago a moment was."""
    return "never" if unix_s <= 0 else f"{lasted(now_s - unix_s)} ago"


def percent(share: float) -> str:
    """A share 0..1."""
    return f"{share:.1%}".replace(".0%", "%").replace("%", " %")


def size(num_bytes: float) -> str:
    """Bytes by a unit of thousands."""
    for unit in ("B", "KB", "MB"):
        if num_bytes < 1_000:
            return f"{num_bytes:,.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1_000
    return f"{num_bytes:,.1f} GB"


def count(number: int, word: str) -> str:
    """`1 round`, `2 rounds`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"
