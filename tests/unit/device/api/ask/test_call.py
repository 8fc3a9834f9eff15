"""A question's way between the event loop and the thread that answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import numpy as np

from driftline_device.api.ask.call import Call
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
