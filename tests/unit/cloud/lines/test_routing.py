"""A device is on the line of its base model and token space, or is told why on none."""

from __future__ import annotations

import pytest

from driftline_cloud.lines.book import ACTIVE, DROPPED, PAUSED, KnownLine
from driftline_cloud.lines.routing import route
from driftline_shared.errors import LinkError, Reason
from driftline_shared.status import Enrolment


def row(pair: str, base: str, space: str = "s1", state: str = ACTIVE) -> KnownLine:
    return KnownLine(
        id=f"{pair}-{base}",
        pair=pair,
        pair_name=pair,
        base_model=base,
        token_space=space,
        state=state,
        added_unix_s=0,
        changed_unix_s=0,
    )


def device(base: str, space: str = "s1", pair: str = "any") -> Enrolment:
    return Enrolment(
        device_id="d1", pair=pair, token_space=space, base_model=base, adapter_version=0
    )


LINES = (row("a", "b1"), row("b", "b1"), row("c", "b2", state=PAUSED), row("d", "b3", "s2"))


def test_the_base_decides_and_then_the_name() -> None:
    assert route(LINES, device("b2")).id == "c-b2"  # paused lines serve their devices
    assert route(LINES, device("b1", pair="b")).id == "b-b1"
    assert route(LINES, device("b1", pair="z")).id == "a-b1"
    assert route(LINES, device("b3", "s2")).id == "d-b3"


@pytest.mark.parametrize(
    ("enrolment", "reason", "words"),
    [
        (device("b9"), Reason.BASE_MODEL_UNKNOWN, "this cloud adapts b1, b2"),
        (device("b3"), Reason.BASE_MODEL_UNKNOWN, "this cloud adapts b1, b2"),
        (device("b1", "s9"), Reason.TOKEN_SPACE_UNKNOWN, "a s1, b s1, c s1, d s2"),
    ],
)
def test_a_device_of_no_line_is_told_what_there_is(
    enrolment: Enrolment, reason: Reason, words: str
) -> None:
    with pytest.raises(LinkError, match=words) as caught:
        route(LINES, enrolment)
    assert caught.value.reason is reason


def test_a_dropped_line_is_said_to_be_dropped_unless_another_one_serves_the_base() -> None:
    dropped = row("a", "b1", state=DROPPED)
    with pytest.raises(LinkError) as caught:
        route([dropped], device("b1"))
    assert caught.value.reason is Reason.LINE_DROPPED
    assert route([dropped, row("b", "b1")], device("b1", pair="a")).id == "b-b1"
    with pytest.raises(LinkError, match="have: none"):
        route([dropped], device("b2", "s2"))
