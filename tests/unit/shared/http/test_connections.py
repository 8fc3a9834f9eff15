"""Which connection goes to make room."""

from __future__ import annotations

import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_shared.http.connections import Connections, Stage, default_limit


class Fake:
    def __init__(self) -> None:
        self.is_closed = False

    def make_room(self) -> None:
        self.is_closed = True


def test_the_one_that_waited_longest_without_a_request_goes() -> None:
    open_ones = Connections[Fake](3)
    first, second, third, fourth, fifth = (Fake() for _ in range(5))
    for each in (first, second, third):
        assert open_ones.enter(each)
    open_ones.move(first, Stage.ANSWER)
    assert open_ones.enter(fourth)
    assert [each.is_closed for each in (first, second, third)] == [False, True, False]
    open_ones.move(first, Stage.HEADER)  # it has its answer: the newest that waits
    open_ones.move(third, Stage.BODY)
    assert open_ones.enter(fifth)
    assert fourth.is_closed
    assert not third.is_closed, "half a body counts more than no header"


def test_who_gets_an_answer_is_never_sent_away() -> None:
    open_ones = Connections[Fake](2)
    both = Fake(), Fake()
    for each in both:
        open_ones.enter(each)
        open_ones.move(each, Stage.ANSWER)
    assert not open_ones.enter(Fake())
    assert not any(each.is_closed for each in both)
    open_ones.leave(both[0])
    open_ones.leave(both[0])
    assert open_ones.enter(Fake())


@given(st.lists(st.tuples(st.sampled_from([*Stage, "enter", "leave"]), st.integers(0, 5))))
def test_never_more_than_the_limit_and_each_counted_once(
    steps: list[tuple[Stage | str, int]],
) -> None:
    open_ones = Connections[Fake](3)
    inside: dict[int, Fake] = {}
    for what, number in steps:
        if what == "enter" and number not in inside:
            made = Fake()
            if open_ones.enter(made):
                inside[number] = made
        elif number in inside and what == "leave":
            open_ones.leave(inside.pop(number))
        elif number in inside and isinstance(what, Stage):
            open_ones.move(inside[number], what)
        inside = {at: each for at, each in inside.items() if not each.is_closed}
        assert len(open_ones) == len(inside) <= 3


def test_the_rest_of_the_device_keeps_half_of_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, limit in ((256, 128), (4096, 512), (4, 8), (resource.RLIM_INFINITY, 512)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert default_limit() == limit
