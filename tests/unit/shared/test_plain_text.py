"""What a terminal would obey is spelled out; everything else stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from driftline_shared.plain_text import visible, visible_lines


def test_what_a_terminal_obeys_is_spelled_out() -> None:
    assert visible("\x1b[2J\x1b]0;owned\x07") == "\\x1b[2J\\x1b]0;owned\\x07"
    assert visible("a\r\nb\x9bc") == "a\\r\\nb\\x9bc"
    assert visible("\u202eabc\u2028") == "\\u202eabc\\u2028"
    assert visible_lines("a\n\tb\x1b") == "a\n\tb\\x1b"


def test_text_stays_as_it_is() -> None:
    for text in ("", "what is it?", "wo ist die Türe?", "これは何", "\U0001f600 é"):
        assert visible(text) == text


@given(st.text())
def test_nothing_that_is_obeyed_is_left(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable() or any(ord(char) > 126 for char in shown)
    assert "\x1b" not in shown and "\n" not in shown
