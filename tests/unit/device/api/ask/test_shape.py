"""What of an answer a client gets, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_device.api.ask.shape import Shape


@pytest.mark.parametrize(
    ("stops", "text", "said", "stopped"),
    [
        ((), "a b", "a b", False),
        ((" b",), "a b c", "a", True),
        (("c", "b"), "a b c", "a ", True),
        (("x",), "a b", "a b", False),
        (("a",), "a b", "", True),
    ],
)
def test_the_first_stop_ends_the_text(
    stops: tuple[str, ...], text: str, said: str, stopped: bool
) -> None:
    dressed, ended = Shape(stops).whole(text)
    assert (dressed.text, ended) == (said, stopped)


def test_what_may_begin_a_stop_is_held_back() -> None:
    shape = Shape(("<end>",))
    assert [shape.growing(text) for text in ("a", "a <e", "a <en", "a <ex", "a <end> b")] == [
        "a",
        "a ",
        "a ",
        "a <ex",
        "a ",
    ]


WORDS = st.text(alphabet="ab", max_size=8)


@given(text=WORDS, stops=st.lists(st.text(alphabet="ab", min_size=1, max_size=3), max_size=3))
def test_nothing_that_was_sent_is_ever_taken_back(text: str, stops: list[str]) -> None:
    shape = Shape(tuple(stops))
    whole = shape.whole(text)[0].text
    sent = ""
    for end in range(len(text) + 1):
        shown = shape.growing(text[:end])
        assert shown.startswith(sent)
        sent = shown
    assert whole.startswith(sent)
