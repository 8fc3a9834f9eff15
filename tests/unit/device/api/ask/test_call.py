"""A question's way between the event loop and the thread that answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from driftline_device.api.ask.call import Call
from driftline_device.api.ask.shape import Shape
from driftline_device.runtime.likely import LikelyStep, Token
from driftline_device.runtime.runtime import Answer, Question
from driftline_shared.tokens import Grid, VisualTokens

ANSWER = Answer(
    text="a cat",
    tokens=VisualTokens(
        values=np.zeros((1, 2), np.float32),
        positions=np.zeros(1, np.int32),
        grid=Grid(rows=1, cols=1),
    ),
    num_steps=2,
    version=0,
)


class Loop:
    """An event loop that keeps what it is asked to call."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def call_soon_threadsafe(self, call: Callable[[], None]) -> None:
        self.calls.append(call)


def test_who_reads_the_last_word_finds_room_already() -> None:
    loop, ended = Loop(), []
    call = Call(
        cast(asyncio.AbstractEventLoop, loop), max_tokens=None, on_end=lambda: ended.append(True)
    )
    call.on_answer(ANSWER)
    loop.calls.pop(0)()
    assert asyncio.run(call.spoken()).text == ANSWER.text
    assert ended == [True]
    assert loop.calls == []


def test_a_question_that_fails_ends_as_well() -> None:
    loop, ended = Loop(), []
    call = Call(
        cast(asyncio.AbstractEventLoop, loop), max_tokens=None, on_end=lambda: ended.append(True)
    )

    def ask(_question: Question, _listener: object) -> None:
        raise ValueError

    call.run(ask, cast(Question, None))  # type: ignore[arg-type]
    for one in loop.calls:
        one()
    assert ended == [True]


@pytest.mark.parametrize(
    ("most", "stops", "kept"),
    [
        (None, (), ["a", " cat"]),
        (5, (), ["a", " cat"]),
        (1, (), ["a"]),
        (None, (" c",), ["a"]),
        (None, ("at",), ["a", " cat"]),
        (None, ("a",), []),
    ],
)
def test_probabilities_are_of_the_tokens_that_are_sent(
    most: int | None, stops: tuple[str, ...], kept: list[str]
) -> None:
    words = [Token(text=text, log_p=-1.0) for text in ("a", " cat", "")]
    steps = [LikelyStep(written=word, ends=not word.text) for word in words]
    answer = replace(ANSWER, num_steps=3, likely=tuple(steps))
    loop = Loop()
    call = Call(
        cast(asyncio.AbstractEventLoop, loop),
        max_tokens=most,
        on_end=lambda: None,
        shape=Shape(stops=stops),
    )
    for text in ("a", "a cat", "a cat"):
        call.on_text(text)
    call.on_answer(answer)
    for one in loop.calls:
        one()
    spoken = asyncio.run(call.spoken())
    assert [step.written.text for step in spoken.steps] == kept
