"""Text of others as one harmless line: what a terminal or a log would obey is spelled out.

Names, reasons and sentences come from peers. A control character moves the cursor, clears a screen,
sets a title or begins a false line; a bidirectional mark turns what follows it round.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

_SPELLED = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
"""Categories: control, format (bidirectional marks), surrogates, private, line and paragraph
separators.
"""


def visible(text: str) -> str:
    """`text` with every character that is not to be seen as its escape, `\\x1b` for ESC."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_spelled(char) for char in text)


def visible_lines(text: str) -> str:
    """As `visible`, but lines and tabs stay: for tracebacks of our own."""
    return "".join(char if char in "\n\t" else _spelled(char) for char in text)


def _spelled(char: str) -> str:
    if unicodedata.category(char) not in _SPELLED:
        return char
    return char.encode("unicode_escape").decode("ascii")


def moment(unix_s: float) -> str:
    """A moment in UTC, `2026-11-28 12:00:00`; the number for what is no moment."""
    try:
        return f"{datetime.fromtimestamp(unix_s, tz=UTC):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return f"{unix_s:g}"
